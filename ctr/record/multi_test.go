package record

func workerRole([]string) error { return nil }

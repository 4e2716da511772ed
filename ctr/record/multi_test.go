package record

func workerRole([]string) error { return nil }
func holdRole([]string) error { return nil }

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// network is a CNI plugin that gives out addresses and does nothing else. Its
// dataDir has a file for each address that is out, with who has it.
func network() error {
	var conf struct {
		CNIVersion, DataDir string
		Attachments         []struct{ ContainerID, IfName string } `json:"cni.dev/valid-attachments"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&conf); err != nil {
		return fail(err.Error())
	}
	who := os.Getenv("CNI_CONTAINERID") + " " + os.Getenv("CNI_IFNAME")
	switch command := os.Getenv("CNI_COMMAND"); command {
	case "VERSION":
		fmt.Println(`{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}`)
	case "ADD":
		if faulty(conf.DataDir, "no-add") {
			return fail("the network is down")
		}
		return add(conf.DataDir, conf.CNIVersion, who)
	case "DEL":
		if faulty(conf.DataDir, "no-del") {
			return fail("the network is down")
		}
		return each(conf.DataDir, func(path, has string) error {
			if has != who {
				return nil
			}
			return os.Remove(path)
		})
	case "GC":
		return each(conf.DataDir, func(path, has string) error {
			for _, a := range conf.Attachments {
				if has == a.ContainerID+" "+a.IfName {
					return nil
				}
			}
			return os.Remove(path)
		})
	case "CHECK", "STATUS":
	default:
		return fail("unknown command " + command)
	}
	return nil
}

// fail is how a plugin tells what is wrong.
func fail(text string) error {
	data, _ := json.Marshal(map[string]any{"cniVersion": "1.0.0", "code": 100, "msg": text})
	fmt.Println(string(data))
	return errors.New(text)
}

// each calls f for every address that is out.
func each(dir string, f func(path, has string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fail(err.Error())
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "10.") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		has, err := os.ReadFile(path)
		if err == nil {
			err = f(path, string(has))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err.Error())
		}
	}
	return nil
}

func add(dir, version, who string) error {
	err := each(dir, func(path, has string) error {
		if has == who {
			return fmt.Errorf("%s has %s already", who, filepath.Base(path))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for n := 2; n < 255; n++ {
		addr := fmt.Sprintf("10.88.0.%d", n)
		// A file that has its name when it has its content.
		draft := filepath.Join(dir, fmt.Sprintf(".%d", os.Getpid()))
		if err := os.WriteFile(draft, []byte(who), 0o600); err != nil {
			return fail(err.Error())
		}
		err := os.Link(draft, filepath.Join(dir, addr))
		_ = os.Remove(draft)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fail(err.Error())
		}
		fmt.Printf(`{"cniVersion":%q,"interfaces":[{"name":%q,"sandbox":%q}],"ips":[{"address":"%s/16","gateway":"10.88.0.1","interface":0}]}`+"\n",
			version, os.Getenv("CNI_IFNAME"), os.Getenv("CNI_NETNS"), addr)
		return nil
	}
	return fail("no free address")
}

// Command open-volumes lets any user write into the volumes that the controller manager makes.
//
// Its host-path provisioner makes directories of mode 0750 owned by root, and Kubernetes applies no fsGroup to them,
// so a pod that does not run as root could use none. This waits for new directories in the one given (inotify, so it
// does nothing in between) and gives them mode 0777.
package main

import (
	"log"
	"os"
	"path/filepath"
	"syscall"
)

func open(directory string) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		log.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.IsDir() && info.Mode().Perm() != 0o777 {
			if err := os.Chmod(filepath.Join(directory, entry.Name()), 0o777); err != nil {
				log.Print(err)
			}
		}
	}
}

func main() {
	directory := os.Args[1]
	watch, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := syscall.InotifyAddWatch(watch, directory, syscall.IN_CREATE|syscall.IN_MOVED_TO); err != nil {
		log.Fatal(err)
	}
	events := make([]byte, 64*1024)
	for {
		open(directory) // all of it: events may have been lost, or be older than the watch
		if _, err := syscall.Read(watch, events); err != nil && err != syscall.EINTR {
			log.Fatal(err)
		}
	}
}

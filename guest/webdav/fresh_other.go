//go:build !linux

package webdav

import "os"

func refresh(*os.File) {}

//go:build !darwin

package evicted

// System is nil where no file is ever evicted.
var System Lstat

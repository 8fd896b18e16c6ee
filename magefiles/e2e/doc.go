// Package e2e proves the whole product with a real virtual machine: it builds a
// guest image, limactl and the task binary, and then types what a person types,
// as an ordinary user, from `up` to `destroy`, with the failures in between that
// a person meets.
package e2e

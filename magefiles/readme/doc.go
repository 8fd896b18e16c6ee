// Package readme has no code of its own: its tests keep README.md honest.
package readme

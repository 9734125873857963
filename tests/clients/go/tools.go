//go:build tools

// Package tools pins the generator, which no program here imports.
package tools

import _ "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen"

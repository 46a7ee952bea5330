//go:build tools

// Package router names the program that enforces network policies on a node of the tests.
package router

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"

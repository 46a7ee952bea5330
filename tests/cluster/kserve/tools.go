//go:build tools

// Package kserve names the controller that the tests build; its module brings the released manifests too.
package kserve

import _ "github.com/kserve/kserve/cmd/manager"

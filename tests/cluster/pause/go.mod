module fairtag.io/tests/pause

go 1.21

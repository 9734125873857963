module emitterdriver

go 1.22

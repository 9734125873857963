// Reports what the lines of its input say: tenant, breaker, state and cause, with tabs between. Compiled with emitter.go.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	emitter := NewEmitter(os.Getenv("SLEEP_URL"), func() string { return "token" }, 5*time.Minute)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		emitter.Report(fields[0], fields[1], fields[2], strings.ReplaceAll(fields[3], `\n`, "\n"))
	}
	timeout, _ := time.ParseDuration(os.Getenv("CLOSE") + "s")
	fmt.Println("all sent:", emitter.Close(timeout))
}

// A service with a gobreaker for each tenant: each line of its input is a call, such as `acme ok` or `acme fail`.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"
)

func main() {
	repeat, err := time.ParseDuration(os.Getenv("REPEAT"))
	if err != nil {
		repeat = 5 * time.Minute
	}
	token := func() string { return os.Getenv("SLEEP_TOKEN") }
	emitter := NewEmitter(os.Getenv("SLEEP_URL"), token, repeat)
	breakers := map[string]*gobreaker.CircuitBreaker[string]{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		tenant, outcome, _ := strings.Cut(lines.Text(), " ")
		if breakers[tenant] == nil {
			breakers[tenant] = newBreaker(emitter, tenant)
		}
		_, err := breakers[tenant].Execute(func() (string, error) {
			if outcome != "ok" {
				return "", errors.New("the payment provider does not answer")
			}
			return "paid", nil
		})
		fmt.Println(tenant, breakers[tenant].State(), err)
	}
	fmt.Println("all sent:", emitter.Close(5*time.Second))
}

func newBreaker(emitter *Emitter, tenant string) *gobreaker.CircuitBreaker[string] {
	return gobreaker.NewCircuitBreaker[string](gobreaker.Settings{
		Name:        "payments",
		Timeout:     time.Second, // open until then; your service waits longer
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 3 },
		OnStateChange: func(name string, _, to gobreaker.State) {
			cause := ""
			if to == gobreaker.StateOpen {
				cause = "3 calls failed, one after the other"
			}
			emitter.Report(tenant, name, strings.ReplaceAll(to.String(), "-", "_"), cause)
		},
	})
}

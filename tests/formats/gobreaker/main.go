// Prints the shared state of a real gobreaker as it is stored: the key, a tab, and the value. See ../README.md.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

type store map[string][]byte

func (store) Lock(string) error   { return nil }
func (store) Unlock(string) error { return nil }

func (s store) GetData(name string) ([]byte, error) { return s[name], nil }

func (s store) SetData(name string, data []byte) error {
	s[name] = data
	fmt.Printf("%s\t%s\n", name, data)
	return nil
}

func main() {
	settings := gobreaker.Settings{
		Name:        "payments",
		Timeout:     50 * time.Millisecond,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 2 },
	}
	breaker, err := gobreaker.NewDistributedCircuitBreaker[int](store{}, settings) // closed
	if err != nil {
		panic(err)
	}
	fail := func() (int, error) { return 0, errors.New("upstream is away") }
	_, _ = breaker.Execute(fail) // closed, one failure
	_, _ = breaker.Execute(fail) // open
	time.Sleep(100 * time.Millisecond)
	_, _ = breaker.State()                                        // half-open
	_, _ = breaker.Execute(func() (int, error) { return 1, nil }) // closed
}

// Reports circuit breakers to Somabrain Sleep, with Go's standard library only. Copy this file. See ../gobreaker.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	mostBreakers   = 10_000
	mostEvents     = 100 // in one request, which may have 64 KiB
	mostCharacters = 256 // of a cause
	mostAnswer     = 64 << 10
	refusedWait    = 5 * time.Minute
)

type key struct{ tenant, breaker string }

// A report is the last state of a breaker. A later state is another report.
type report struct {
	state, cause string
	changed      time.Time // by the local monotonic clock
	occurredAt   int64     // milliseconds by the server's clock; set once, when the report is first sent
	due          time.Time // when to send it, or send it again
}

func (r *report) sleeps() bool {
	return r.state == "open" || r.state == "half_open" || r.state == "forced_open"
}

// Emitter sends the last state of each breaker, and repeats what means sleep.
type Emitter struct {
	url, instance  string
	token          func() string
	repeat         time.Duration
	client         *http.Client
	start          time.Time
	ahead          time.Duration // how far the server's clock is ahead of the time since `start`, at least
	number         int           // of events sent, for their ids
	wake           chan struct{}
	stopping       context.Context
	done           context.Context
	stop, end, cut context.CancelFunc
	deadline       context.Context

	mutex   sync.Mutex
	reports map[key]*report
	dropped int
}

// NewEmitter starts an emitter. repeat is at most a third of the lease: 5 minutes fit the default lease of 15.
func NewEmitter(url string, token func() string, repeat time.Duration) *Emitter {
	host, _ := os.Hostname()
	e := &Emitter{
		url: strings.TrimRight(url, "/") + "/api/breakers/events", instance: fmt.Sprintf("%s-%d", host, os.Getpid()),
		token: token, repeat: repeat, start: time.Now(), wake: make(chan struct{}, 1), reports: map[key]*report{},
		// A redirect would take the token elsewhere.
		client: &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
	e.stopping, e.stop = context.WithCancel(context.Background())
	e.deadline, e.cut = context.WithCancel(context.Background())
	e.done, e.end = context.WithCancel(context.Background())
	go e.run()
	return e
}

// Report notes the state of a breaker, without I/O: a breaker may call it while it holds its own lock.
func (e *Emitter) Report(tenant, breaker, state, cause string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	at, now := key{tenant, breaker}, time.Now()
	known := e.reports[at]
	if known != nil && known.state == state {
		return
	}
	if e.stopping.Err() != nil || known == nil && len(e.reports) >= mostBreakers {
		e.dropped++
		return
	}
	e.reports[at] = &report{state: state, cause: clean(cause), changed: now, due: now}
	select {
	case e.wake <- struct{}{}:
	default: // It is awake already.
	}
}

// clean returns a text that the API takes as a cause: cut, and without control characters.
func clean(text string) string {
	characters := []rune(text)
	for i, c := range characters {
		if unicode.IsControl(c) {
			characters[i] = ' '
		}
	}
	return string(characters[:min(len(characters), mostCharacters)])
}

// Close sends what waits, and `closed` for what sleeps, so that no claim stays behind. It tells if all was sent in time.
func (e *Emitter) Close(timeout time.Duration) bool {
	e.mutex.Lock()
	for at, r := range e.reports {
		if r.sleeps() {
			e.reports[at] = &report{state: "closed", cause: "the process stops", changed: time.Now(), due: time.Now()}
		}
	}
	e.stop()
	e.mutex.Unlock()
	time.AfterFunc(timeout, e.cut)
	<-e.done.Done()
	return len(e.reports) == 0
}

// run sends one request at a time. The first one has no events: it shows a wrong URL or token, and the server's time.
func (e *Emitter) run() {
	defer e.end()
	most := mostEvents
	for failures, known := 0, false; e.deadline.Err() == nil; {
		tenant, batch, wait := e.next(most)
		if len(batch) == 0 && e.stopping.Err() != nil {
			return
		}
		if !known {
			batch = nil
		} else if len(batch) == 0 {
			e.pause(wait, e.wake)
			continue
		}
		status, after, detail, err := e.post(batch)
		refused := status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
		switch {
		case status == http.StatusAccepted:
			failures, known, most = 0, true, min(2*most, mostEvents)
			e.sent(batch, e.repeat, true)
		case known && (status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity):
			// The request is too large, or one of its events is wrong: it must not hold up the others.
			if most = max(1, len(batch)/2); len(batch) == 1 {
				e.drop(batch, status, detail)
			}
		case refused && known && status != http.StatusUnauthorized:
			log.Printf("sleep: reports of tenant %s are refused with %d: check the scope of the token", tenant, status)
			e.sent(batch, refusedWait, false) // The other tenants go on.
		default:
			if failures++; failures == 1 {
				log.Printf("sleep: %s takes no reports (status %d, %v); trying again", e.url, status, err)
			}
			if refused {
				after = max(after, time.Minute)
			}
			after = max(after, min(time.Second<<min(failures-1, 4), 16*time.Second))
			e.pause(after+rand.N(after/2), nil)
		}
	}
}

// next returns what to send now, all of one tenant and not more than that, or how long to wait.
func (e *Emitter) next(most int) (tenant string, batch map[key]*report, wait time.Duration) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	batch, wait = map[key]*report{}, time.Hour
	for at, r := range e.reports {
		if left := time.Until(r.due); left > 0 {
			wait = min(wait, left)
		} else if len(batch) == 0 || at.tenant == tenant && len(batch) < most {
			tenant, batch[at] = at.tenant, r
		}
	}
	return tenant, batch, wait
}

// sent notes that a batch was sent, unless a later state has come. A breaker that is closed is then forgotten.
func (e *Emitter) sent(batch map[key]*report, wait time.Duration, accepted bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for at, r := range batch {
		if r.due = time.Now().Add(wait); e.reports[at] == r && accepted && !r.sleeps() {
			delete(e.reports, at)
		}
	}
}

// drop forgets what the API will never take, unless a later state has come.
func (e *Emitter) drop(batch map[key]*report, status int, detail string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for at, r := range batch {
		log.Printf("sleep: dropped %s of breaker %q of tenant %q: refused with %d: %s",
			r.state, at.breaker, at.tenant, status, detail)
		if e.dropped++; e.reports[at] == r {
			delete(e.reports, at)
		}
	}
}

// pause waits until a time has passed or something wakes it; half a second at most while the emitter closes.
func (e *Emitter) pause(wait time.Duration, wake <-chan struct{}) {
	stopping := e.stopping.Done()
	if e.stopping.Err() != nil {
		stopping, wait = nil, min(wait, time.Second/2)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-stopping:
	case <-e.deadline.Done():
	}
}

func (e *Emitter) post(batch map[key]*report) (status int, after time.Duration, detail string, err error) {
	events := []map[string]any{}
	for at, r := range batch {
		data := map[string]any{"breaker": at.breaker, "instance": e.instance, "state": r.state}
		if r.occurredAt == 0 && e.ahead > 0 {
			r.occurredAt = (r.changed.Sub(e.start) + e.ahead).Milliseconds()
		}
		if r.occurredAt > 0 {
			data["occurred_at"] = r.occurredAt
		}
		if r.cause != "" {
			data["cause"] = r.cause
		}
		e.number++
		events = append(events, map[string]any{
			"specversion": "1.0", "id": fmt.Sprintf("%x-%d", e.start.UnixNano(), e.number), "type": "sleep.breaker.v1",
			"source": "urn:breakers:" + e.instance, "subject": at.tenant, "data": data,
		})
	}
	body, _ := json.Marshal(events) // Texts and numbers only, so there is no error.
	request, err := http.NewRequestWithContext(e.deadline, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return 0, 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+e.token())
	request.Header.Set("Content-Type", "application/cloudevents-batch+json")
	answer, err := e.client.Do(request)
	if err != nil {
		return 0, 0, "", err
	}
	defer answer.Body.Close()
	var problem struct{ Detail string }
	said, _ := io.ReadAll(io.LimitReader(answer.Body, mostAnswer)) // to its end, so that the connection is used again
	_ = json.Unmarshal(said, &problem)
	// The server's time was cut to seconds. So the largest difference is the best one, and never too large.
	if server, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		e.ahead = max(e.ahead, time.Duration(server.UnixNano())-time.Since(e.start))
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return answer.StatusCode, time.Duration(min(max(seconds, 0), 3600)) * time.Second, clean(problem.Detail), nil
}

package streaming

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// ticketLife is how long a ticket may be redeemed.
	ticketLife = time.Minute
	// maxTickets bounds those that wait.
	maxTickets = 1000
	// tokenBytes makes tokens of 128 bits.
	tokenBytes = 16
)

// ticket is a call that waits for its client.
type ticket struct {
	kind    string
	expires time.Time
	serve   func(http.ResponseWriter, *http.Request)
}

// tickets are the calls that wait for their clients, by token.
type tickets struct {
	now func() time.Time

	mu      sync.Mutex
	waiting map[string]ticket
}

// issue keeps serve under a new token. ErrResourceExhausted if too many wait.
func (t *tickets) issue(kind string, serve func(http.ResponseWriter, *http.Request)) (token string, err error) {
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // it never fails
	token = base64.RawURLEncoding.EncodeToString(raw)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for old, k := range t.waiting {
		if !now.Before(k.expires) {
			delete(t.waiting, old)
		}
	}
	if len(t.waiting) >= maxTickets {
		return "", fmt.Errorf("%d streaming calls wait for their clients already: %w", len(t.waiting), errdefs.ErrResourceExhausted)
	}
	t.waiting[token] = ticket{kind: kind, expires: now.Add(ticketLife), serve: serve}
	return token, nil
}

// redeem takes what is kept under a token for a kind of call. A token is good
// once.
func (t *tickets) redeem(kind, token string) (serve func(http.ResponseWriter, *http.Request), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.waiting[token]
	if !ok || k.kind != kind {
		return nil, false
	}
	delete(t.waiting, token)
	return k.serve, t.now().Before(k.expires)
}

package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

const (
	askTimeout   = 10 * time.Second // an operator's request waits for at most one commit
	auditTimeout = 5 * time.Second
)

// backend is what the API sees of a server.
type backend struct {
	s       *Server
	applies sync.Mutex    // two policies at once must come into force in the order they are recorded
	audits  atomic.Uint64 // keeps entries of one instant apart
}

var _ api.Backend = (*backend)(nil)

// leading is the reign, or who to ask instead.
func (b *backend) leading(ctx context.Context) (*reign, error) {
	if r := b.s.reign.Load(); r != nil {
		return r, nil
	}
	return nil, b.notLeading(ctx)
}

func (b *backend) notLeading(ctx context.Context) error {
	l := b.s.leadership()
	switch {
	case l.Leader:
		return api.Passing("try again in a few seconds", "%s has just become leader and is still reading the records", b.s.cfg.Name)
	}
	now, leader, _ := b.servers(ctx, l.LeaderName, 0)
	return b.elsewhere(now, leader)
}

// elsewhere names the leader, or says why there is none: one that is dead is still known as the leader until another one is elected.
func (b *backend) elsewhere(now api.Servers, leader string) error {
	if now.Electing || !now.Quorum || leader == "" {
		return api.Leaderless(b.s.cfg.Name, now)
	}
	return api.NotLeading(b.s.cfg.Name, leader, b.s.cards.get(leader).API)
}

// told turns an error of the reign's end into who to ask instead.
func (b *backend) told(ctx context.Context, err error) error {
	if errors.Is(err, errNotLeading) || errors.Is(err, store.ErrDeposed) {
		return b.notLeading(ctx)
	}
	return err
}

// see reads the engine between two steps. What it saw comes through a channel: a look that is given up may still run.
func see[T any](ctx context.Context, b *backend, f func(*reign, *engine.Engine) T) (T, error) {
	var none T
	r, err := b.leading(ctx)
	if err != nil {
		return none, err
	}
	saw := make(chan T, 1)
	if err := r.read(ctx, func(e *engine.Engine) { saw <- f(r, e) }); err != nil {
		return none, b.told(ctx, err)
	}
	return <-saw, nil
}

// Ready implements api.Backend.
func (b *backend) Ready(ctx context.Context) error {
	st := b.s.store.Status(ctx)
	if !st.Quorum {
		return fmt.Errorf("no quorum: %s", either(strings.TrimPrefix(st.QuorumReason, store.ErrNoQuorum.Error()+": "), "no majority of the servers answers"))
	}
	return nil
}

// Ask implements api.Backend. Once put, a request takes its course, whether or not the client still waits for it.
func (b *backend) Ask(ctx context.Context, ev engine.Asked) (api.Reply, error) {
	return b.ask(ctx, ev, "")
}

// ask is Ask; forced is what was set aside by force, for the audit trail.
func (b *backend) ask(ctx context.Context, ev engine.Asked, forced string) (api.Reply, error) {
	r, err := b.leading(ctx)
	if err != nil {
		return api.Reply{}, err
	}
	if zones := b.s.inventory.zones(); ev.Verb == engine.MaintenanceOn && ev.Zone != "" && !slices.Contains(zones, ev.Zone) {
		return api.Reply{}, api.NotFound("the zones are: "+few(zones), "no compute host is in a zone %q", ev.Zone)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	ev.ID = rand.Text()
	reply, err := r.ask(ctx, ev)
	entry := api.AuditEntry{Who: ev.By, What: whatAsked(ev), Reason: ev.Reason, OK: reply.OK, Reply: reply.Text}
	if err != nil {
		entry.Reply = "unknown: " + err.Error()
	}
	if forced != "" {
		entry.What += " by force"
		entry.Reply += "; " + forced
	}
	audited := b.audit(ctx, r, entry)
	switch {
	case errors.Is(err, errNotLeading): // not told(): that would have the client ask the next leader the same
		return api.Reply{}, api.Uncertain("look whether it was (`ninelives status`, the host, the incident) before you ask again", "%s ceased to lead while it was asked: nobody knows whether it was done", b.s.cfg.Name)
	case err != nil:
		return api.Reply{}, b.told(ctx, err)
	case !reply.OK:
		return api.Reply{}, b.refused(ctx, ev, reply.Text)
	case audited != nil:
		return api.Reply{Text: reply.Text + " (but the audit trail could not be written: " + audited.Error() + ")"}, nil
	}
	return api.Reply{Text: reply.Text}, nil
}

// refused tells what isn't there from what isn't done.
func (b *backend) refused(ctx context.Context, ev engine.Asked, text string) error {
	there, err := see(ctx, b, func(_ *reign, e *engine.Engine) bool {
		_, _, found := e.Incident(ev.Incident)
		return found || ev.Incident == ""
	})
	if ev.Host != "" {
		_, there = b.s.inventory.facts(ev.Host)
	}
	if err == nil && !there {
		return api.NotFound("`ninelives host list` and `ninelives incident list --state all` show what there is", "%s", text)
	}
	return api.Conflict("", "%s", text)
}

// whatAsked is the request in words, as the command line would say it.
func whatAsked(ev engine.Asked) string {
	text := string(ev.Verb)
	for _, part := range []struct{ name, value string }{{"host", ev.Host}, {"zone", ev.Zone}, {"incident", ev.Incident}, {"vm", ev.VM}} {
		if part.value != "" {
			text += " " + part.name + " " + part.value
		}
	}
	return text
}

// audit writes what an operator did. A failure is the caller's to tell.
func (b *backend) audit(ctx context.Context, r *reign, entry api.AuditEntry) error {
	entry.At = time.Now().UTC()
	value, err := store.Encode(format, entry)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	key := store.AuditKey(entry.At, int(b.audits.Add(1)%1_000_000))
	if _, err = b.s.store.Commit(ctx, r.epoch, store.Put(key, value)); err != nil {
		b.s.log.Error("cannot write the audit trail", "who", entry.Who, "what", entry.What, "reason", entry.Reason, "reply", entry.Reply, "error", err)
	}
	return err
}

// act does something that isn't the engine's, and writes it to the audit trail.
func (b *backend) act(ctx context.Context, by, what, reason string, f func(context.Context, *reign) (string, error)) (string, error) {
	r, err := b.leading(ctx)
	if err != nil {
		return "", err
	}
	text, err := f(ctx, r)
	entry := api.AuditEntry{Who: by, What: what, Reason: reason, OK: err == nil, Reply: text}
	if err != nil {
		entry.Reply = err.Error()
	}
	if audited := b.audit(ctx, r, entry); audited != nil && err == nil {
		text += " (but the audit trail could not be written: " + audited.Error() + ")"
	}
	return text, b.told(ctx, err)
}

// Arm implements api.Backend. Shadow mode is set before arming and never after, so that nothing is done in between.
func (b *backend) Arm(ctx context.Context, a api.Arming) (api.Reply, error) {
	if _, err := b.leading(ctx); err != nil {
		return api.Reply{}, err
	}
	left, forced := 0, ""
	var err error
	switch {
	case a.Shadow:
	case a.Force:
		forced, err = b.overridden(ctx)
	default:
		left, err = b.mayArm(ctx, a)
	}
	if err != nil {
		return api.Reply{}, err
	}
	if err := b.setShadow(ctx, a); err != nil {
		return api.Reply{}, err
	}
	r, err := b.ask(ctx, engine.Asked{By: a.By, Verb: engine.Arm, Reason: a.Reason}, forced)
	if err == nil && forced != "" {
		b.s.trail.note(engine.Note{Severity: engine.Warning, Text: fmt.Sprintf("%s armed by force; %s", a.By, forced)})
		r.Text += " by force; " + forced
	}
	if err == nil && left > 0 {
		r.Text += fmt.Sprintf("; `ninelives doctor` finds %d errors that would stop a recovery or make it worse", left)
	}
	return r, err
}

func (b *backend) setShadow(ctx context.Context, a api.Arming) error {
	now, err := see(ctx, b, func(_ *reign, e *engine.Engine) engine.Switches {
		s, _ := e.Switches()
		return s
	})
	if err != nil || now.Shadow == a.Shadow {
		return err
	}
	ask := engine.Asked{By: a.By, Verb: engine.ShadowOff, Reason: a.Reason}
	if a.Shadow {
		ask.Verb = engine.ShadowOn
	}
	_, err = b.Ask(ctx, ask)
	return err
}

// overridden is what doctor finds against arming and an operator sets aside: it must be found in the audit trail later.
func (b *backend) overridden(ctx context.Context) (string, error) {
	d, err := b.Doctor(ctx)
	if err != nil {
		return "", err
	}
	var against []string
	for _, f := range d.Findings {
		if f.Forbids {
			against = append(against, f.Title+": "+f.What)
		}
	}
	if len(against) == 0 {
		return "doctor found nothing against it", nil
	}
	return "set aside: " + strings.Join(against, "; "), nil
}

// mayArm refuses while doctor finds what forbids it, and counts the other errors.
func (b *backend) mayArm(ctx context.Context, a api.Arming) (int, error) {
	d, err := b.Doctor(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(d.Findings, func(f api.Finding) bool { return f.Forbids })
	if i < 0 {
		errs := slices.DeleteFunc(d.Findings, func(f api.Finding) bool { return f.Severity != api.Refuse })
		return len(errs), nil
	}
	f := d.Findings[i]
	_, err = b.act(ctx, a.By, "arm", a.Reason, func(context.Context, *reign) (string, error) {
		return "", api.Conflict("`ninelives doctor` shows everything; `ninelives arm --force` arms all the same, `--shadow` only watches",
			"not armed: %s: %s; %s", f.Title, f.What, f.Do)
	})
	return 0, err
}

// Rejoin implements api.Backend.
func (b *backend) Rejoin(ctx context.Context, by, host string) (api.Reply, error) {
	text, err := b.act(ctx, by, "rejoin host "+host, "", func(context.Context, *reign) (string, error) {
		if _, ok := b.s.agents.of(host); !ok {
			return "", api.NotFound("`ninelives token create "+host+"` lets it join the first time", "no host %q has joined", host)
		}
		return fmt.Sprintf("%s: another machine may take its name over, once (ninelives token create %s)", host, host), b.s.agents.rejoin(host)
	})
	return api.Reply{Text: text}, err
}

// Token implements api.Backend. The audit trail gets everything but the secret.
func (b *backend) Token(ctx context.Context, by, host string, life time.Duration) (api.Token, error) {
	var out api.Token
	_, err := b.act(ctx, by, "token create host "+host, "", func(ctx context.Context, _ *reign) (string, error) {
		if err := pki.ValidName(host); err != nil {
			return "", api.Invalid("name it as Nova does: openstack compute service list", "%v", err)
		}
		token, record, err := b.s.ca.NewToken(host, life, time.Now())
		if err != nil {
			return "", api.Invalid("", "%v", err)
		}
		if err := b.s.tokens.Create(ctx, record); err != nil {
			return "", err
		}
		out = api.Token{Host: host, Token: token.Text(), Expires: record.Expires, Warning: b.unknownToNova(host)}
		return "token " + record.ID + ", good until " + record.Expires.UTC().Format(time.RFC3339), nil
	})
	if err != nil {
		return api.Token{}, err
	}
	return out, nil
}

// unknownToNova warns of a host that Nova doesn't list: a misspelt one joins, pulses, and is never protected. It is no
// error, since an agent may be installed before nova-compute.
func (b *backend) unknownToNova(host string) string {
	names := b.s.inventory.names()
	if _, ok := b.s.inventory.facts(host); ok {
		return ""
	}
	if names == "" {
		why, _ := b.s.inventory.troubled()
		return fmt.Sprintf("Nova's compute hosts are not known yet (%s), so nobody can tell whether %q is one", either(why, "they are being read"), host)
	}
	return fmt.Sprintf("Nova has no compute host %q (it has: %s); an agent of that name joins, but is not protected before Nova lists it", host, names)
}

// Audit implements api.Backend; every server can read it.
func (b *backend) Audit(ctx context.Context, since time.Time) ([]api.AuditEntry, error) {
	records, _, err := b.s.store.List(ctx, store.AuditPrefix)
	if err != nil {
		return nil, api.Unavailable("see the servers (`ninelives status`)", "%v", err)
	}
	var out []api.AuditEntry
	for _, rec := range records {
		var e api.AuditEntry
		if _, err := store.Decode(rec, format, &e); err != nil {
			return nil, err
		}
		if !e.At.Before(since) {
			out = append(out, e)
		}
	}
	return out, nil
}

// life names this run of the server: its messages are numbered from one again after a restart.
func (b *backend) life() string { return strconv.FormatInt(b.s.started.UnixNano(), 36) }

package server

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// The limits of what is said to be nearly full, or near its end.
const (
	diskLow      = 1 << 30   // bytes; etcd stops when it can't write
	diskTiny     = 256 << 20 // bytes
	expiresSoon  = 30 * 24 * time.Hour
	clockJump    = 2 * time.Second // as long as a permit
	databaseFull = 80              // per cent of the quota
)

func checkDisk(p *patient) []api.Finding {
	const mb = 1 << 20
	var out []api.Finding
	what := fmt.Sprintf("%d of %d MB free under %s", p.diskFree/mb, p.diskSize/mb, p.dataDir)
	do := "make room: without it nothing can be recorded, and what can't be recorded isn't done"
	switch {
	case p.diskErr != nil:
		out = one(api.Warn, "disk", "The data directory's disk can't be examined", p.diskErr.Error(), "look at it by hand: df "+p.dataDir)
	case p.diskFree < diskTiny:
		out = one(api.Refuse, "disk", "The disk is full", what, do)
	case p.diskFree < diskLow:
		out = one(api.Warn, "disk", "The disk is nearly full", what, do)
	}
	if p.dbQuota > 0 && p.dbInUse*100 > p.dbQuota*databaseFull {
		out = append(out, one(api.Warn, "database", "The database is nearly full", fmt.Sprintf("%d of %d MB in use", p.dbInUse/mb, p.dbQuota/mb), "look at what fills it: incidents and the audit trail are kept for 90 days")...)
	}
	for _, a := range p.alarms {
		out = append(out, one(api.Refuse, "database-alarm", "The database raises an alarm", a, "see the alarm's own words")...)
	}
	return out
}

func checkCertificates(p *patient) []api.Finding {
	var out []api.Finding
	for _, c := range p.certificates {
		left := c.until.Sub(p.at)
		switch {
		case c.err != nil:
			out = append(out, one(api.Warn, "certificate", "Cannot read "+c.what, c.err.Error(), "make sure that the server's user can read it")...)
		case left <= 0:
			out = append(out, one(api.Refuse, "certificate", "Expired: "+c.what, fmt.Sprintf("%s ended %s", c.file, c.until.UTC().Format(time.DateOnly)), renewal(c))...)
		case left < expiresSoon:
			out = append(out, one(api.Warn, "certificate", "Ends soon: "+c.what, fmt.Sprintf("%s ends %s, in %d days", c.file, c.until.UTC().Format(time.DateOnly), int(left.Hours()/24)), renewal(c))...)
		}
	}
	return out
}

func renewal(c certificate) string {
	if c.what == "the API's certificate" {
		return "put a new one in its place; it is read at each new connection"
	}
	return "restart the server: its own certificate is renewed at each start. The CA must be replaced together with all agents' certificates"
}

// checkClock finds steps of the wall clock: permits and tokens are measured by it too.
func checkClock(p *patient) []api.Finding {
	if p.jumped.Abs() < clockJump {
		return nil
	}
	return one(api.Warn, "clock", "The clock has jumped", fmt.Sprintf("by %s in all since %s", p.jumped.Round(100*time.Millisecond), p.started.UTC().Format(time.RFC3339)),
		"let NTP slew it (chrony: makestep only at boot); a suspended machine looks the same, and a server must never be suspended")
}

func checkTimes(p *patient) []api.Finding {
	text := ""
	for i, t := range p.times {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s %gs", t.Name, t.Seconds)
	}
	return one(api.Tell, "times", "Safety times in force", text, "")
}

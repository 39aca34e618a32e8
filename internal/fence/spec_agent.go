package fence

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// secretOptions are the options of ClusterLabs agents that hold a secret, with
// their deprecated spellings. Their place is named instead: "password_file",
// "snmp_priv_passwd_env".
var secretOptions = [...]string{
	"password", "passwd", "snmp_priv_passwd", "snmp-priv-passwd", "secret_key", "secretkey", "token", "pve_token",
	"apitoken", "client_secret", "api_key", "apikey",
}

// ownOptions are set by this program and can't be declared.
var ownOptions = map[string]string{
	"action":          "set by Ninelives for each call",
	"option":          "set by Ninelives for each call",
	"method":          "always onoff: a cycle gives no proof of off",
	"nodename":        "name the outlet or machine by the agent's own option (port, plug)",
	"delay":           "Ninelives decides when",
	"debug":           "it would write the password to a file",
	"debug_file":      "it would write the password to a file",
	"disable_timeout": "a call without an end is not possible",
}

var (
	agentName  = regexp.MustCompile(`^fence_[a-zA-Z0-9_-]{1,60}$`)
	optionName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,63}$`)
)

// refusedAgents can't prove that a machine is without power.
var refusedAgents = map[string]string{
	"fence_kdump":      "it proves a crash dump, not power",
	"fence_dummy":      "it switches nothing",
	"fence_ack_manual": "it is a person's word: use `ninelives host confirm-down`",
	"fence_compute":    "it evacuates by itself and switches no power",
	"fence_evacuate":   "it evacuates by itself and switches no power",
	"fence_sbd":        "it leaves a message on a disk: no power is read back",
	"fence_scsi":       "it cuts storage, not power: the machine's VMs would go on running",
	"fence_mpath":      "it cuts storage, not power: the machine's VMs would go on running",
	"fence_watchdog":   "it trusts a watchdog that nobody asks: no power is read back",
}

// RefusedAgent says why an agent is refused by its name alone; empty if it
// isn't. What else an agent must be able to do is in its metadata.
func RefusedAgent(agent string) string {
	if why, ok := refusedAgents[agent]; ok {
		return why
	}
	if strings.HasPrefix(agent, "fence_heuristics_") {
		return "it guesses from the network and switches nothing"
	}
	return ""
}

func (s Spec) validateAgent() (errs []error) {
	switch {
	case s.Agent == "":
		errs = append(errs, wrong("agent", "missing: the name of a fence agent, such as fence_apc"))
	case !agentName.MatchString(s.Agent):
		errs = append(errs, wrong("agent", "%q is not the name of a fence agent (fence_…, without a path)", s.Agent))
	default:
		if why := RefusedAgent(s.Agent); why != "" {
			errs = append(errs, wrong("agent", "%s is refused: %s", s.Agent, why))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Options)) {
		errs = append(errs, s.validateOption(name, s.Options[name]))
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func (s Spec) validateOption(name, value string) error {
	key := "options." + name
	if why, ok := ownOptions[name]; ok {
		return wrong(key, "can't be set: %s", why)
	}
	if slices.Contains(secretOptions[:], name) {
		return &SpecError{Key: key, Words: fmt.Sprintf("a secret is never written here: use %s_file or %s_env", name, name), secret: true}
	}
	if !optionName.MatchString(name) {
		return wrong(key, "is not the name of an option")
	}
	// One option is one line on the agent's standard input: a line break in a
	// value would be another option.
	if strings.ContainsAny(value, "\r\n\x00") {
		return wrong(key, "holds a line break")
	}
	for _, secret := range secretOptions {
		_, file := s.Options[secret+"_file"]
		if _, env := s.Options[secret+"_env"]; file && env && name == secret+"_env" {
			return wrong(key, "%s_file is given too: leave out one of them", secret)
		}
	}
	return nil
}

// AgentOptions splits an agent's options into plain ones and secrets, which
// are read now.
func (s Spec) AgentOptions() (plain map[string]string, secrets map[string]Secret, err error) {
	plain, secrets = make(map[string]string, len(s.Options)), map[string]Secret{}
	for name, value := range s.Options {
		base, place := secretPlace(name)
		switch place {
		case "file":
			secrets[base], err = ReadSecret(value, "")
		case "env":
			secrets[base], err = ReadSecret("", value)
		default:
			plain[name] = value
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return plain, secrets, nil
}

// SecretOption takes "password_file" for "password"; secret is false for an
// option that isn't the place of a secret, which is returned as it is.
func SecretOption(name string) (option string, secret bool) {
	base, place := secretPlace(name)
	return base, place != ""
}

// secretPlace takes "password_file" apart into "password" and "file"; place is
// empty for any option that isn't the place of a secret (such as identity_file).
func secretPlace(name string) (base, place string) {
	for _, suffix := range []string{"file", "env"} {
		base, found := strings.CutSuffix(name, "_"+suffix)
		if found && slices.Contains(secretOptions[:], base) {
			return base, suffix
		}
	}
	return name, ""
}

//go:build attack

package cli_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

var (
	three = []string{"server-1", "server-2", "server-3"}
	five  = []string{"server-1", "server-2", "server-3", "server-4", "server-5"}
)

// TestAttackClusterUse tries each wrong use of join, remove, replace, backup and restore, as an operator would, on
// servers that are real processes; and the right ones between them:
//
//	go test -tags attack -run AttackClusterUse -v ./internal/cli
func TestAttackClusterUse(t *testing.T) {
	s := newSite(t, five...)
	for _, n := range three {
		s.configure(n, three...)
	}
	bundle := s.path("bundle")
	s.wants(0, "The bundle is", "server", "init", "--data", s.path("server-1", "data"), "--name", "mycloud", "--bundle-out", bundle)
	s.wants(1, "is not written over anything", "server", "init", "--data", s.path("server-1", "data"), "--bundle-out", bundle)
	s.wants(0, "", "server", "init", "--data", s.path("other", "data"), "--name", "other", "--bundle-out", s.path("other", "bundle"))
	s.start("server-1")
	s.start("server-2", "--bundle", bundle)
	s.start("server-3", "--bundle", bundle)
	s.whole(three...)
	s.joinsWrongly(bundle)
	backup := s.removesAndSavesWrongly(bundle)
	s.restoresWrongly(backup, bundle)
	s.losesOne(bundle)
	s.losesTheLeader(bundle)
	s.losesTheMajority(backup, bundle)
	s.restores(backup, bundle)
}

func join(config, bundle, through string) []string {
	return []string{"server", "join", "--config", config, "--bundle", bundle, "--through", through}
}

func (s *site) joinsWrongly(bundle string) {
	s.t.Log("--- join, wrongly")
	at := s.at["server-2"]
	four := s.configure("server-4", five...)
	s.wants(2, "--bundle FILE and --through HOST:PORT are needed", "server", "join", "--config", four)
	s.wants(1, "is of another cluster than the bundle", join(four, s.path("other", "bundle"), at.agents)...)
	s.wants(1, "bundle", join(four, four, at.agents)...)
	s.wants(1, "isn't reached.*refused", join(four, bundle, "127.0.0.1:1")...)
	s.wants(1, "is no agents' port", join(four, bundle, at.api)...)
	s.wants(1, "not as an agents' port does", join(four, bundle, at.cluster)...)
	s.wants(1, "no cluster address", join(s.configure("server-5"), bundle, at.agents)...)
	s.wants(1, "in use|another process|has data already", join(s.path("server-3", "server.yaml"), bundle, at.agents)...)
	s.at["twin"] = newPlace()
	s.configure("twin", "twin", "server-1", "server-3")
	text, err := os.ReadFile(s.path("twin", "server.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(s.path("twin", "server.yaml"), strings.NewReplacer("name: twin", "name: server-2", "twin: ", "server-2: ").Replace(string(text)))
	s.wants(1, "a server of this name is a member already", join(s.path("twin", "server.yaml"), bundle, at.agents)...)
	s.at["server-4b"] = s.at["server-3"]
	s.configure("server-4b", "server-1", "server-2", "server-4b")
	s.wants(1, "has the address", join(s.path("server-4b", "server.yaml"), bundle, at.agents)...)
}

func (s *site) removesAndSavesWrongly(bundle string) (backup string) {
	s.t.Log("--- remove and replace, wrongly")
	lead := s.leader()
	follower := three[slices.IndexFunc(three, func(n string) bool { return n != lead })]
	s.wants(2, "--reason", "cluster", "remove", "server-3", "--yes")
	s.wants(2, "needs --yes", "cluster", "remove", "server-3", "--reason", "test")
	s.wants(1, "no server has this name", "cluster", "remove", "server-9", "--reason", "test", "--yes")
	s.wants(1, "doesn't remove itself", "cluster", "remove", lead, "--reason", "test", "--yes")
	s.wants(1, "works, so it needn't be replaced", "cluster", "replace", follower, "--reason", "test")
	s.wants(1, "no server has this name", "cluster", "replace", "server-9", "--reason", "test", "--yes")
	s.t.Log("--- backup")
	backup = s.path("backup")
	s.wants(0, "checksum right", "cluster", "backup", backup)
	s.wants(1, "cannot write the backup.*exists", "cluster", "backup", backup)
	s.wants(1, "cannot write the backup", "cluster", "backup", s.path("nowhere", "backup"))
	return backup
}

func (s *site) restoresWrongly(backup, bundle string) {
	s.t.Log("--- restore, wrongly")
	restore := func(file, config string, more ...string) []string {
		return append([]string{"cluster", "restore", file, "--config", config}, more...)
	}
	s.wants(1, "still run|in use", restore(backup, s.path("server-1", "server.yaml"))...)
	s.wants(1, "still run: .*There would be two clusters", restore(backup, s.configure("server-4", five...), "--bundle", bundle)...)
	s.away("server-4", "data")
	alone := s.configure("server-4", "server-4")
	s.wants(1, "--bundle", restore(backup, alone)...)
	s.wants(1, "is no backup", restore(bundle, alone, "--bundle", bundle)...)
	s.wants(1, "no such file", restore(s.path("nothing"), alone, "--bundle", bundle)...)
	damaged, err := os.ReadFile(backup)
	if err != nil {
		s.t.Fatal(err)
	}
	damaged[len(damaged)/2]++
	s.write(s.path("damaged"), string(damaged))
	s.wants(1, "the backup is damaged", restore(s.path("damaged"), alone, "--bundle", bundle)...)
	s.away("server-4", "data")
}

// losesOne: a server's disk is lost; while it is missing nothing may make it worse; it is replaced.
func (s *site) losesOne(bundle string) {
	s.t.Log("--- one server is lost")
	lead := s.leader()
	lost := three[slices.IndexFunc(three, func(n string) bool { return n != lead && n != "server-1" })]
	s.kill(lost)
	s.missed(lost)
	lead = s.leader()
	works := three[slices.IndexFunc(three, func(n string) bool { return n != lost && n != lead })]
	s.wants(1, "only 1 of the 2 servers.*nothing could be decided", "cluster", "remove", works, "--reason", "test", "--yes")
	s.wants(1, "less could fail than now: repair or remove it first", join(s.configure("server-4", five...), bundle, s.at[lead].agents)...)
	s.wants(0, "(?s)is no server of this cluster any more.*server join", "cluster", "replace", lost, "--reason", "its disk died", "--yes")
	s.away(lost, "data")
	s.wants(0, lost+" may join", join(s.path(lost, "server.yaml"), bundle, s.at[lead].agents)...)
	s.wants(1, "(?s)Waiting: .*one at a time.*cannot join within", join(s.configure("server-4", five...), bundle, s.at[lead].agents)...)
	s.start(lost)
	s.whole(three...)
}

// losesTheLeader: a server that asks to join while the leader is away waits for the next one.
func (s *site) losesTheLeader(bundle string) {
	s.t.Log("--- the leader is killed while a server joins")
	lead := s.leader()
	through := three[slices.IndexFunc(three, func(n string) bool { return n != lead })]
	s.kill(lead)
	joined := make(chan string, 1)
	four := s.configure("server-4", five...)
	go func() {
		_, text := s.says(join(four, bundle, s.at[through].agents)...)
		joined <- text
	}()
	s.start(lead) // back in time: with a server missing nobody may join
	said := <-joined
	s.t.Logf("join said:\n%s", said)
	if !strings.Contains(said, "Waiting: ") || !strings.Contains(said, "server-4 may join") && !strings.Contains(said, "repair or remove it first") {
		s.t.Error("it should have waited for a leader")
	}
	if strings.Contains(said, "may join") {
		s.until("there is a leader again", func() bool { return s.leader() != "" })
		s.wants(0, "is no server of this cluster any more", "cluster", "remove", s.joining(), "--reason", "it never came", "--yes")
	}
	s.whole(three...)
	s.away("server-4", "data")
}

// joining is how the cluster calls a server that was let in and never came.
func (s *site) joining() string {
	for _, x := range s.members().Servers {
		if x.Learner {
			return x.Name
		}
	}
	return "nobody joins"
}

func (s *site) losesTheMajority(backup, bundle string) {
	s.t.Log("--- the majority is lost")
	s.kill("server-2")
	s.kill("server-3")
	s.until("server-1 says so", func() bool {
		code, text := s.says("status", "--exit-code")
		return code == 3 && strings.Contains(text, "NO QUORUM")
	})
	_, text := s.says("status")
	s.t.Log(text)
	s.until("server-1 knows that nobody leads", func() bool { return s.leader() == "" })
	s.wants(4, "no quorum: ", "cluster", "remove", "server-3", "--reason", "test", "--yes")
	s.wants(4, "no quorum: ", "cluster", "replace", "server-3", "--reason", "test", "--yes")
	s.wants(4, "quorum", "cluster", "backup", s.path("backup2"))
	if _, err := os.Stat(s.path("backup2")); err == nil {
		s.t.Error("half a backup is left")
	}
	s.wants(1, "(?s)Waiting: no server leads.*cannot join within", join(s.configure("server-5", five...), bundle, s.at["server-1"].agents)...)
	s.wants(1, "still run: server-1 ", "cluster", "restore", backup, "--config", s.path("server-2", "server.yaml"))
}

func (s *site) restores(backup, bundle string) {
	s.t.Log("--- restore")
	s.kill("server-1")
	two := s.path("server-2", "server.yaml")
	s.wants(1, "has data already", "cluster", "restore", backup, "--config", two)
	s.away("server-2", "data", "etcd")
	s.wants(0, "disarmed", "cluster", "restore", backup, "--config", two)
	s.start("server-2")
	s.token = "server-2" // the old cluster's other tokens are forgotten
	s.until("server-2 leads alone", func() bool { return s.leader() == "server-2" && len(s.members().Servers) == 1 })
	s.wants(0, "(?is)disarmed.*restored from backup", "status")
	s.start("server-1") // somebody forgot to move its data away
	s.token = "server-1"
	s.until("server-1 knows that it is alone", func() bool {
		code, text := s.saysAt([]string{"server-1"}, "status", "--exit-code")
		return code == 3 && strings.Contains(text, "NO QUORUM")
	})
	s.token = "server-2"
	s.kill("server-1")
	s.away("server-1", "data", "etcd")
	s.wants(0, "server-1 may join", join(s.path("server-1", "server.yaml"), bundle, s.at["server-2"].agents)...)
	s.start("server-1")
	s.whole("server-1", "server-2")
}

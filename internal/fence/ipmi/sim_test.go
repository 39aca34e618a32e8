package ipmi_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/agents"
)

const chassis = `#!/bin/sh
# OpenIPMI's simulator asks: get power | set power 0|1 | check …
cd "$(dirname "$0")" || exit 1
case "$1 $2" in
"get power") echo "power:$(cat power)" ;;
"set power") echo "$3" >power ;;
esac
`

const lan = `name "test"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%s/chassis"
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "%s" "%s" admin 10 md2 md5 straight
`

const emu = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
`

// startSim starts OpenIPMI's ipmi_sim, a BMC that isn't made by our library's
// authors, and returns its address.
func startSim(t *testing.T) string {
	t.Helper()
	sim, err := exec.LookPath("ipmi_sim")
	if err != nil {
		t.Skip("ipmi_sim is not installed (package openipmi): the driver is not tried against a foreign BMC")
	}
	dir := t.TempDir()
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	_ = free.Close() // ipmi_sim can't choose a port by itself
	for name, text := range map[string]string{
		"chassis": chassis, "power": "1\n", "lan.conf": fmt.Sprintf(lan, port, dir, user, password), "sim.emu": emu,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(sim, "-n", "-c", filepath.Join(dir, "lan.conf"), "-f", filepath.Join(dir, "sim.emu"), "-s", dir)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestForeignBMC(t *testing.T) {
	t.Parallel()
	b := &testBMC{address: startSim(t)}
	dev := open(t, b.spec(t, password), 4*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var h fence.Health
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for h = dev.Check(ctx); !h.OK() && ctx.Err() == nil; h = dev.Check(ctx) {
		<-tick.C // until it listens
	}
	if !h.OK() {
		t.Fatalf("check: %s", h.Trouble())
	}
	t.Logf("identity %+v", h.Found)
	out := fence.OffLevel(context.Background(), []fence.Device{dev}, granted, fence.OffOptions{})
	if !out.Proven {
		t.Fatalf("not proven: %s", out.Why)
	}
	if on := fence.OnMachine(context.Background(), []fence.Device{dev}, granted, fence.OnOptions{}); !on.On {
		t.Fatalf("not on: %+v", on)
	}
	wrong := open(t, b.spec(t, "nope"), 4*time.Second).Check(context.Background())
	if wrong.Login.Grade != fence.GradeFailed {
		t.Errorf("a wrong password is %q", wrong.Trouble())
	}
	t.Run("by fence_ipmilan", func(t *testing.T) { realAgent(t, b) })
}

// realAgent fences the same BMC by ClusterLabs' agent.
func realAgent(t *testing.T, b *testBMC) {
	if _, err := os.Stat(filepath.Join(agents.DefaultDir, "fence_ipmilan")); err != nil {
		t.Skip("fence_ipmilan is not installed (package fence-agents): the driver is not tried with a real agent")
	}
	host, port, err := fence.SplitAddress(b.address, 623)
	if err != nil {
		t.Fatal(err)
	}
	spec := fence.Spec{Driver: fence.DriverAgent, Agent: "fence_ipmilan", Options: map[string]string{
		"ip": host, "ipport": fmt.Sprint(port), "lanplus": "1", "cipher": "3", "username": user,
		"password_file": b.spec(t, password).PasswordFile,
	}}
	dev, err := fence.Drivers{fence.DriverAgent: agents.New(agents.DefaultDir).Open}.Open(spec, fence.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if h := dev.Check(context.Background()); !h.OK() || h.State != fence.StateOn {
		t.Fatalf("check: %s, %s", h.State, h.Trouble())
	}
	out := fence.OffLevel(context.Background(), []fence.Device{dev}, granted, fence.OffOptions{})
	if !out.Proven {
		t.Errorf("not proven: %s", out.Why)
	}
}

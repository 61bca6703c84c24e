package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the hooks write is what the programs that call them say, with the names
// that those give it; what is taken away goes (T42).
func TestHooks_T42(t *testing.T) {
	dir, err := filepath.Abs("hooks")
	if err != nil {
		t.Fatal(err)
	}
	ppp := t.TempDir()
	for _, name := range []string{"ip-up", "ip-down"} {
		if err := os.Symlink(filepath.Join(dir, "ppp"), filepath.Join(ppp, name)); err != nil {
			t.Fatal(err)
		}
	}
	dhclient := ". " + filepath.Join(dir, "dhclient")
	nm, udhcpc := filepath.Join(dir, "networkmanager"), filepath.Join(dir, "udhcpc")
	type call struct{ run, env, want string }
	for name, calls := range map[string][]call{
		"dhclient": {
			{dhclient, "reason=BOUND interface=eth1 new_domain_name_servers=192.0.2.53_192.0.2.54", "192.0.2.53 192.0.2.54"},
			{dhclient, "reason=BOUND6 interface=eth1 new_dhcp6_name_servers=2001:db8::53", "192.0.2.53 192.0.2.54 2001:db8::53"},
			{dhclient, "reason=PREINIT interface=eth1", "192.0.2.53 192.0.2.54 2001:db8::53"},
			{dhclient, "reason=RENEW interface=eth1 new_domain_name_servers=192.0.2.99", "192.0.2.99 2001:db8::53"},
			{dhclient, "reason=EXPIRE interface=eth1", "2001:db8::53"},
			{dhclient, "reason=STOP6 interface=eth1", ""},
			{dhclient, "reason=STOP interface=eth1", ""},
		},
		"pppd": {
			{filepath.Join(ppp, "ip-up"), "PPP_IFACE=eth1 DNS1=192.0.2.1 DNS2=192.0.2.2", "192.0.2.1 192.0.2.2"},
			{filepath.Join(ppp, "ip-up"), "PPP_IFACE=eth1 DNS1=192.0.2.3", "192.0.2.3"},
			{filepath.Join(ppp, "ip-down"), "PPP_IFACE=eth1", ""},
		},
		"NetworkManager": {
			{nm + " eth1 up", "DEVICE_IP_IFACE=eth1 IP4_NAMESERVERS=192.0.2.1_192.0.2.2 IP6_NAMESERVERS=2001:db8::1", "192.0.2.1 192.0.2.2 2001:db8::1"},
			{nm + " eth1 connectivity-change", "", "192.0.2.1 192.0.2.2 2001:db8::1"},
			{nm + " eth1 down", "", ""},
		},
		"udhcpc": {
			{udhcpc + " bound", "interface=eth1 dns=192.0.2.7_192.0.2.8", "192.0.2.7 192.0.2.8"},
			{udhcpc + " deconfig", "interface=eth1", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := t.TempDir()
			for _, c := range calls {
				cmd := exec.Command("sh", "-c", c.run)
				cmd.Env = append(os.Environ(), "PORTOLAN_DNS="+filepath.Join(dir, "portolan-dns"), "PORTOLAN_DNS_DIR="+run)
				for _, v := range strings.Fields(c.env) {
					key, value, _ := strings.Cut(v, "=")
					cmd.Env = append(cmd.Env, key+"="+strings.ReplaceAll(value, "_", " "))
				}
				if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
					t.Fatalf("%s with %s: %v\n%s", c.run, c.env, err, out)
				}
				text, err := os.ReadFile(filepath.Join(run, "eth1"))
				if got := strings.Join(strings.Fields(string(text)), " "); got != c.want || (err != nil) != (c.want == "") {
					t.Errorf("after %s: %q, %v, want %q", c.env, got, err, c.want)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(run, ".new*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	out, err := exec.Command(filepath.Join(dir, "portolan-dns"), "../passwd", "192.0.2.1").CombinedOutput()
	if err == nil {
		t.Errorf("a path was taken for an interface: %s", out)
	}
}

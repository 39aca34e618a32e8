// Package yamlfile reads the files that operators write, strictly: an unknown
// key, a key given twice, a value of the wrong kind, an empty value or a second
// document is an error that names file, line and column, shows the line and
// says what was probably meant. All errors of a file are reported at once.
//
// A typo in a file that decides which virtual machines come back must never be
// read as "use the default", so nothing is skipped and nothing is guessed.
//
//	var c Config
//	f, err := yamlfile.Open("/etc/ninelives/server.yaml", &c)
//	if err != nil { … }
//	if c.Listen.API == "" {
//		return f.Errorf("listen.api", "no address")
//	}
package yamlfile

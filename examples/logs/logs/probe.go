package main

import "strings"

// pattern is a kind of probing request and what gives it away: parts of the path, in lower case and unescaped.
type pattern struct {
	kind  string
	parts []string
}

// patterns are tried in this order; the first that matches names the request.
var patterns = []pattern{
	{"path traversal", []string{"../", "..\\", "/etc/passwd", "/etc/shadow", "/proc/self/", "boot.ini", "win.ini"}},
	{"injection", []string{"union select", "union all select", "information_schema", "' or '", "' or 1", "sleep(", "benchmark(",
		"<script", "javascript:alert", "${jndi:", "php://", "data://text", "allow_url_include", "base64_decode", "eval(", "/bin/sh",
		"/bin/bash", "cmd.exe", "powershell", "wget http", "curl http", "xp_cmdshell", "call_user_func", "invokefunction"}},
	{"secrets", []string{"/.env", "/.git/", "/.svn/", "/.hg/", "/.aws/", "/.ssh/", "id_rsa", ".htpasswd", ".htaccess", "wp-config",
		"web.config", "config.php.bak", "/.ds_store", "dump.sql", "backup.sql", "backup.zip", "/server-status", "/actuator"}},
	{"wordpress", []string{"wp-login", "wp-admin", "xmlrpc.php", "wlwmanifest.xml", "wp-content/plugins/", "wp-includes/"}},
	{"upload editors", []string{"fckeditor", "ckfinder", "/elfinder", "/uploadify", "/tiny_mce/plugins/"}},
	{"admin panels", []string{"phpmyadmin", "/pma/", "/myadmin", "/mysqladmin", "/administrator", "/admin.php", "/admin/", "/adminer",
		"/manager/html", "/solr/admin", "/jmx-console", "/web-console", "/cpanel", "/_profiler", "/hnap1", "/boaform"}},
	{"scripts", []string{"/cgi-bin/", "/shell.php", "/c99.php", "/r57.php", "/setup.php", "/install.php", "/vtigercrm", "/thinkphp", "/phpunit"}},
	{"form spam", []string{"action=register", "/user/register", "/node/add", "/trackback/", "result:+chosen+nickname", "result: chosen nickname"}},
}

// scanners are names that tools for probing give themselves.
var scanners = []string{"sqlmap", "nikto", "masscan", "zgrab", "nmap", "acunetix", "nessus", "openvas", "dirbuster", "gobuster",
	"wpscan", "havij", "w3af", "morfeus", "zmeu", "jorgee", "nuclei"}

// probeOf names the kind of probing that a request is, or "".
func probeOf(r request) string {
	if r.method == "" {
		return "not HTTP"
	}
	path := strings.ToLower(unescape(unescape(r.path)))
	for _, p := range patterns {
		for _, part := range p.parts {
			if strings.Contains(path, part) {
				return p.kind
			}
		}
	}
	if r.method == "CONNECT" || strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		return "open proxy"
	}
	agent := strings.ToLower(r.agent)
	if strings.Contains(agent, "() {") || strings.Contains(r.referrer, "() {") || strings.Contains(agent, "${jndi:") {
		return "injection"
	}
	for _, name := range scanners {
		if strings.Contains(agent, name) {
			return "scanner"
		}
	}
	return ""
}

// unescape replaces %NN and turns plus signs of a query to spaces; what is no escape stays.
func unescape(path string) string {
	if !strings.ContainsAny(path, "%+") {
		return path
	}
	var b strings.Builder
	query := false
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%' && i+2 < len(path) && hex(path[i+1]) >= 0 && hex(path[i+2]) >= 0:
			c = byte(hex(path[i+1])<<4 | hex(path[i+2]))
			i += 2
		case c == '?':
			query = true
		case c == '+' && query:
			c = ' '
		}
		b.WriteByte(c)
	}
	return b.String()
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

package link

import "testing"

// Whatever is pasted, a link that is taken reads back as itself and is safe to use: TLS or this machine, nothing that is not a host in front.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "https://host:8443/join#s=SECRET", "https://host/admin#t=a%26b&pin=00", " https://h/join#s=x \n", "http://127.0.0.1:1/join#s=x", "http://host/join#s=x",
		"https://user@host/join#s=x", "https://host/join/#s=x&s=y", "https://[::1/join#s=x", "https://host/join?x#s=%zz", "ftp://host/join#s=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		if l.Secret == "" || CheckServer(l.Server) != nil || CheckPin(l.Pin) != nil {
			t.Fatalf("%q was taken as %+v", text, l)
		}
		if again, err := Parse(l.String()); err != nil || again != l {
			t.Fatalf("%q reads as %+v, written as %q, then as %+v, %v", text, l, l.String(), again, err)
		}
	})
}

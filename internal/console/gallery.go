package console

import (
	"html/template"
	"net/http"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// galleryTime is when the gallery's canned data is looked at: fixed, so that pages never differ from run to run.
var galleryTime = time.Date(2026, 11, 22, 14, 30, 0, 0, time.UTC)

// GallerySet is one set of canned data.
type GallerySet struct {
	Name, Text string
	Pages      []string // addresses below /NAME
}

// fixedViewer lets everybody in as one account; signed out without a role.
type fixedViewer struct {
	account cloudcrowd.AccountID
	role    cloudcrowd.Role
}

func (f fixedViewer) Who(*http.Request) (cloudcrowd.AccountID, cloudcrowd.Role, bool) {
	return f.account, f.role, f.role != ""
}

// galleries makes the canned sets and who looks at them.
func galleries() []struct {
	GallerySet
	data   *canned
	viewer fixedViewer
} {
	operator := fixedViewer{"operator", cloudcrowd.RoleOperator}
	small := cannedSmall()
	return []struct {
		GallerySet
		data   *canned
		viewer fixedViewer
	}{
		{GallerySet{Name: "empty", Text: "a server on its first day"}, cannedEmpty(), operator},
		{GallerySet{Name: "small", Text: "a lab at work: one job runs, a worker lied"}, small, operator},
		{GallerySet{Name: "huge", Text: "10,000 tasks, 400 workers, 24 stages"}, cannedHuge(), operator},
		{GallerySet{Name: "failing", Text: "a bad day: jobs fail, workers vanish, the ledger does not add up"}, cannedFailing(), operator},
		{GallerySet{Name: "requester", Text: "the lab as alice sees it"}, small, fixedViewer{"alice", cloudcrowd.RoleRequester}},
		{GallerySet{Name: "owner", Text: "the lab as bob, who lends machines, sees it"}, small, fixedViewer{"bob", cloudcrowd.RoleOwner}},
		{GallerySet{Name: "signed-out", Text: "before signing in"}, cannedEmpty(), fixedViewer{}},
	}
}

// Gallery shows every page with canned data: /SET/PAGE, with an index at /. Nothing is live and nothing can be changed. ?theme=dark or light
// overrides the theme.
func Gallery() http.Handler {
	h, _ := gallery()
	return h
}

// GallerySets lists the canned sets with the pages worth looking at.
func GallerySets() []GallerySet {
	_, sets := gallery()
	return sets
}

func gallery() (http.Handler, []GallerySet) {
	mux := http.NewServeMux()
	var sets []GallerySet
	for _, g := range galleries() {
		base := "/" + g.Name
		var c *Console
		c = New(Config{Backend: g.data, Blobs: g.data, Directory: g.data, JoinLink: g.data.joinLink, Auth: g.viewer, Version: "gallery", Base: base, EventsURL: "-",
			OutputURL: func(job cloudcrowd.JobID, o cloudcrowd.StageOutput) string { return c.fileURL(job, o) },
			SignOut:   "/session/end", Now: func() time.Time { return galleryTime }})
		c.history = g.data.history()
		mux.Handle(base+"/", c)
		set := g.GallerySet
		for _, p := range g.data.pages(g.viewer) {
			set.Pages = append(set.Pages, base+p)
		}
		sets = append(sets, set)
	}
	static := New(Config{Backend: cannedEmpty(), Auth: fixedViewer{}, EventsURL: "-"})
	mux.Handle("/assets/", static)
	mux.Handle("GET /{$}", secure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = galleryIndex.Execute(w, struct {
			Style string
			Theme string
			Sets  []GallerySet
		}{"/assets/console.css?v=" + assetHash("console.css"), themeOf(r), sets})
	})))
	return mux, sets
}

var galleryIndex = template.Must(template.New("gallery").Parse(`<!doctype html>
<html lang="en"{{with .Theme}} data-theme="{{.}}"{{end}}><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gallery · CloudCrowd</title><link rel="stylesheet" href="{{.Style}}"></head>
<body><main><h1>Gallery</h1><p>Every page of the console with canned data, each in light and dark.</p>
{{range .Sets}}<h2>{{.Name}}</h2><p class="quiet">{{.Text}}</p><ul class="plain">{{range .Pages}}<li><a href="{{.}}">{{.}}</a></li>{{end}}</ul>{{end}}
</main></body></html>
`))

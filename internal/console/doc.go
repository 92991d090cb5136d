// Package console serves the web console: pages rendered on the server from plain view structs, pictures as SVG, and one small script that keeps an
// open page up to date. Everything is embedded, nothing is fetched from elsewhere, and every page reads without scripts.
//
// A page is a handler that fills a view (a plain struct) from the Backend, and a template that draws it. The parts of a page that move are
// fragments: templates of their own that the script fetches again (header X-Fragment) when the event stream says that something happened.
// Gallery shows every page with canned data. docs/console.md describes the pages, the grammar and the limits.
package console

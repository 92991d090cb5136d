// Package draw makes the console's pictures as SVG text from plain values, so that every picture works without scripts and a gallery can show it.
//
// Pictures carry colours by class only (console.css gives classes their colour in both themes), say what they show in <title> and <desc>, and are
// bounded in size whatever they are given: what would need more than a few thousand elements is aggregated.
package draw

package main

import "cloudcrowd.dev/cloudcrowd/client"

// pageSize is how many items are asked for at once.
const pageSize = 500

// collect gathers the items of all pages of a list, at most limit of them if limit > 0.
func collect[T any](limit int, ask func(client.PageQuery) (client.Page[T], error)) ([]T, error) {
	var all []T
	q := client.PageQuery{}
	for {
		q.Limit = pageSize
		if limit > 0 {
			q.Limit = min(pageSize, limit-len(all))
		}
		page, err := ask(q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
		q.Cursor = page.Next
	}
}

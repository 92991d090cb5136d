package main

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// price is the index level of one month.
type price struct {
	month int // months since year 0
	level float64
}

// estimate is what the prices say about monthly log returns.
type estimate struct {
	Spot       float64 `json:"spot"`       // last level
	SpotMonth  string  `json:"spot_month"` // as YYYY-MM
	Since      string  `json:"since"`      // first month of the first return used
	Returns    int     `json:"returns"`    // monthly returns used
	Drift      float64 `json:"drift"`      // mean log return of a month
	Volatility float64 `json:"volatility"` // standard deviation of a month's log return
}

// readPrices reads a CSV file with the columns Date (YYYY-MM or YYYY-MM-DD) and SP500 (or another of levelColumns), plain
// or gzip, in any order of rows and columns. Rows without a level are left out.
func readPrices(path string) ([]price, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	if head, _ := reader.Peek(4); len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b {
		unzipped, err := gzip.NewReader(reader)
		if err != nil {
			return nil, err
		}
		return parsePrices(unzipped)
	} else if string(head) == "\x28\xb5\x2f\xfd" {
		return nil, errors.New("this is zstd; give it uncompressed or as gzip")
	}
	return parsePrices(reader)
}

// levelColumns are the names that the column of levels may have; the first that is there is used.
var levelColumns = []string{"sp500", "adj close", "close", "price", "value", "level"}

func parsePrices(r io.Reader) ([]price, error) {
	text := bufio.NewReader(r)
	if mark, _ := text.Peek(3); string(mark) == "\ufeff" {
		_, _ = text.Discard(len(mark)) // here, because the header behind it may begin with a quote
	}
	reader := csv.NewReader(text)
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("no header: %w", err)
	}
	for i := range header {
		header[i] = strings.ToLower(strings.TrimSpace(header[i]))
	}
	date, level := slices.Index(header, "date"), -1
	for i := 0; i < len(levelColumns) && level < 0; i++ {
		level = slices.Index(header, levelColumns[i])
	}
	if date < 0 || level < 0 {
		return nil, fmt.Errorf("needs the columns Date and SP500 (or Close or Price), has %q", header)
	}
	var prices []price
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := reader.FieldPos(0)
		month, err := parseMonth(strings.TrimSpace(row[date]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		text := strings.TrimSpace(row[level])
		if text == "" {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(value, 0) || math.IsNaN(value) || value < 0 {
			return nil, fmt.Errorf("line %d: %s is %q: must be a number above 0", line, header[level], text)
		}
		if value > 0 {
			prices = append(prices, price{month, value})
		}
	}
	slices.SortStableFunc(prices, func(a, b price) int { return a.month - b.month })
	for i := 1; i < len(prices); i++ {
		if prices[i].month == prices[i-1].month {
			return nil, fmt.Errorf("two levels for %s: needs one row a month", monthName(prices[i].month))
		}
	}
	return prices, nil
}

// parseMonth reads the year and month at the start of a date.
func parseMonth(date string) (int, error) {
	if len(date) >= 7 && date[4] == '-' && (len(date) == 7 || date[7] == '-') {
		year, errYear := strconv.Atoi(date[:4])
		month, errMonth := strconv.Atoi(date[5:7])
		if errYear == nil && errMonth == nil && month >= 1 && month <= 12 {
			return year*12 + month - 1, nil
		}
	}
	return 0, fmt.Errorf("date %q: must be YYYY-MM or YYYY-MM-DD", date)
}

func monthName(month int) string { return fmt.Sprintf("%04d-%02d", month/12, month%12+1) }

// estimateFrom estimates drift and volatility from the log returns between neighbouring months. A month that is
// missing costs the two returns beside it.
func estimateFrom(prices []price, year int) (estimate, error) {
	var returns []float64
	e := estimate{}
	for i := 1; i < len(prices); i++ {
		before, now := prices[i-1], prices[i]
		if before.month < year*12 || now.month != before.month+1 {
			continue
		}
		if len(returns) == 0 {
			e.Since = monthName(before.month)
		}
		returns = append(returns, logarithm(now.level/before.level))
	}
	if len(prices) < 25 {
		return e, fmt.Errorf("%d months have a level: at least 25 are needed", len(prices))
	}
	if len(returns) < 24 {
		return e, fmt.Errorf("%d monthly returns since %d: at least 24 are needed; begin earlier with -since", len(returns), year)
	}
	var sum, squares float64
	for _, r := range returns {
		sum += r
	}
	e.Drift = sum / float64(len(returns))
	for _, r := range returns {
		squares += float64((r - e.Drift) * (r - e.Drift))
	}
	e.Returns = len(returns)
	e.Volatility = math.Sqrt(squares / float64(len(returns)-1))
	if e.Volatility == 0 {
		return e, errors.New("the level never changes: nothing to simulate")
	}
	last := prices[len(prices)-1]
	e.Spot, e.SpotMonth = last.level, monthName(last.month)
	return e, nil
}

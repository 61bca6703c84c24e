package kernel

import "fmt"

// matchCells bounds the work of comparing two lists of rules.
const matchCells = 1 << 20

// match finds for each wished rule the one that is there and stays, or -1: as
// many as can stay in their order (the longest common subsequence).
func match[A, B any](want []A, have []B, same func(A, B) bool) []int {
	found := make([]int, len(want))
	for i := range found {
		found[i] = -1
	}
	start := 0
	for start < len(want) && start < len(have) && same(want[start], have[start]) {
		found[start] = start
		start++
	}
	n, m := len(want), len(have)
	for n > start && m > start && same(want[n-1], have[m-1]) {
		n, m = n-1, m-1
		found[n] = m
	}
	rows, cols := n-start, m-start
	if rows == 0 || cols == 0 || rows*cols > matchCells {
		return found // the middle is made anew
	}
	longest := make([]int32, (rows+1)*(cols+1))
	at := func(i, j int) *int32 { return &longest[i*(cols+1)+j] }
	for i := rows - 1; i >= 0; i-- {
		for j := cols - 1; j >= 0; j-- {
			if same(want[start+i], have[start+j]) {
				*at(i, j) = *at(i+1, j+1) + 1
			} else {
				*at(i, j) = max(*at(i+1, j), *at(i, j+1))
			}
		}
	}
	for i, j := 0, 0; i < rows && j < cols; {
		switch {
		case same(want[start+i], have[start+j]):
			found[start+i] = start + j
			i, j = i+1, j+1
		case *at(i+1, j) >= *at(i, j+1):
			i++
		default:
			j++
		}
	}
	return found
}

func (pl *planner) fits(set *Set, el Element) bool {
	if err := set.checkElement(el); err != nil {
		pl.bad(fmt.Sprintf("set %s: %v", set.Name, err))
		return false
	}
	return true
}

// tell gives a text when it is asked for.
func tell(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}

package topology

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/portolan-lb/portolan/config"
)

// ispFact is the fact "the client is of this ISP".
type ispFact struct {
	name string
	fact uint32
}

// readISPs makes a fact for each ISP, from its inline prefixes, its file and
// its AS numbers. Each file is read once.
func (c *compiler) readISPs() {
	for i, isp := range c.model.ISPs {
		fact := c.facts.add()
		c.isps[isp.Name] = fact
		c.plan.isps = append(c.plan.isps, ispFact{isp.Name, fact})
		path := fmt.Sprintf("isps[%d]", i)
		for _, p := range isp.Prefixes {
			c.facts.covers = append(c.facts.covers, cover{p.Masked(), fact})
		}
		file := c.ispFile(isp, fact)
		c.ispNumbers(isp, file, fact, path)
	}
}

// ispFile adds the lines of the ISP's file. Lines with an AS number count only
// if the ISP names it, or names none.
func (c *compiler) ispFile(isp *config.ISP, fact uint32) *prefixFile {
	if isp.PrefixFile == "" {
		return nil
	}
	file, ok := c.files[isp.PrefixFile]
	if !ok {
		var errs config.Errors
		file, errs = readPrefixFile(c.src, isp.PrefixFile)
		c.errs = append(c.errs, errs...)
		if errs.Failed() {
			file = nil
		}
		c.files[isp.PrefixFile] = file
	}
	if file == nil {
		c.unread = true
		return nil
	}
	for _, line := range file.lines {
		if line.asn == 0 || len(isp.ASNs) == 0 || slices.Contains(isp.ASNs, line.asn) {
			c.facts.covers = append(c.facts.covers, cover{line.prefix, fact})
		}
	}
	return file
}

// ispNumbers adds what databases say of the ISP's AS numbers. They must say
// something, unless the ISP's file carries AS numbers itself.
func (c *compiler) ispNumbers(isp *config.ISP, file *prefixFile, fact uint32, path string) {
	carried := file != nil && len(file.asns) > 0
	for _, asn := range isp.ASNs {
		value := strconv.FormatUint(uint64(asn), 10)
		c.facts.imply(fieldASN, value, fact)
		if carried && file.asns[asn] > 0 {
			continue
		}
		c.facts.databases = append(c.facts.databases,
			ask{field: fieldASN, value: value, pos: isp.Pos, path: path + ".asns", spare: carried})
	}
}

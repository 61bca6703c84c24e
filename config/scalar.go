package config

import (
	"encoding"
	"net/netip"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// textual decodes a type that reads itself from text. The address types'
// own messages name Go functions, so ours take their place.
func (d *decoder) textual(p *place, into encoding.TextUnmarshaler) {
	text, _, ok := scalarText(p.node)
	if !ok {
		d.fail(p, "", "is %s; %s belongs here", describe(p.node), nameOf(into))
		return
	}
	switch v := into.(type) {
	case *netip.Prefix:
		d.prefix(p, text, v)
	case *netip.Addr:
		d.address(p, text, v)
	case *netip.AddrPort:
		if err := v.UnmarshalText([]byte(text)); err != nil || text == "" {
			d.fail(p, "", "%q is not an address with a port such as 192.0.2.1:53 or [2001:db8::1]:53", text)
		}
	default:
		if err := into.UnmarshalText([]byte(text)); err != nil {
			d.fail(p, "", "%s", err)
		}
	}
}

func nameOf(into any) string {
	switch into.(type) {
	case *netip.Prefix:
		return "a prefix such as 192.0.2.0/24"
	case *netip.Addr:
		return "an address"
	case *netip.AddrPort:
		return "an address with a port"
	case *Duration:
		return "a time such as 5s"
	case *Size:
		return "a size such as 4MiB"
	case *PortRange:
		return "a port such as 443"
	case *Service:
		return "a service such as tcp/443"
	case *AddressRange:
		return "an address or a range of them"
	case *Days:
		return "a day such as mon"
	case *TimeOfDay:
		return "a time of the day such as \"08:30\""
	case *TOS:
		return "a type of service such as 184 or ef"
	default:
		return "a value with a unit"
	}
}

func (d *decoder) address(p *place, text string, into *netip.Addr) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		d.fail(p, "", "%q is not an IPv4 or IPv6 address", text)
	case a.Is4In6():
		d.fail(p, didYouMean(a.Unmap().String()), "%q is an IPv4 address in IPv6 clothes", text)
	case a.Zone() != "":
		d.fail(p, "", "%q has a zone; only addresses that mean the same everywhere belong here", text)
	default:
		*into = a
	}
}

func (d *decoder) prefix(p *place, text string, into *netip.Prefix) {
	v, err := netip.ParsePrefix(text)
	if a, e := netip.ParseAddr(text); e == nil && a.Zone() == "" {
		d.fail(p, didYouMean(netip.PrefixFrom(a, a.BitLen()).String()), "%q has no length", text)
		return
	}
	switch {
	case err != nil:
		d.fail(p, "", "%q is not a prefix such as 192.0.2.0/24 or 2001:db8::/32", text)
	case v.Addr().Is4In6():
		d.fail(p, "", "%q is an IPv4 prefix in IPv6 clothes", text)
	case v != v.Masked():
		d.fail(p, didYouMean(v.Masked().String()), "%q has bits set beyond its length", text)
	default:
		*into = v
	}
}

// scalarText gives the text of a scalar as written, or as its quotes mean.
func scalarText(n ast.Node) (text string, quoted, ok bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType, true
	case *ast.LiteralNode:
		return v.Value.Value, true, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return strings.TrimSpace(n.GetToken().Value), false, true
	default:
		return "", false, false
	}
}

func isScalar(n ast.Node) bool { _, _, ok := scalarText(n); return ok }

// keyText gives a key that is a plain or quoted scalar.
func keyText(n ast.MapKeyNode) (string, bool) {
	if n == nil {
		return "", false
	}
	text, _, ok := scalarText(n)
	return text, ok
}

// describe says what a node is, for "is ...; X belongs here".
func describe(n ast.Node) string {
	switch v := n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode, nil:
		return "nothing"
	case *ast.BoolNode:
		return strings.TrimSpace(v.GetToken().Value)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag"
	default:
		text, quoted, _ := scalarText(n)
		if quoted {
			return "the quoted text " + quote(text)
		}
		return quote(text)
	}
}

// quote quotes text and cuts it where it would flood a terminal.
func quote(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "..."
	}
	return "\"" + window(text, 0) + "\""
}

// start is the place of a node's first word; a mapping's own token is its
// first colon.
func start(n ast.Node) (line, col int) {
	tok := n.GetToken()
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && m.Start != nil && m.Start.Type != token.MappingStartType {
		tok = m.Values[0].Key.GetToken()
	}
	if tok == nil || tok.Position == nil {
		return 0, 0
	}
	return tok.Position.Line, max(1, tok.Position.Column)
}

func keysOf(fields []field) string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return strings.Join(keys, ", ")
}

func didYouMean(word string) string {
	if word == "" {
		return ""
	}
	return "did you mean " + quote(word) + "?"
}

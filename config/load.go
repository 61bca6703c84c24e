package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Load reads, decodes and validates the configuration src.Name: a file, or a
// folder whose *.yaml and *.yml files are read in the order of their names as if they
// were one (lists are joined; any other section stands in one file only).
//
// It returns every error and warning of the run, sorted by place. The model
// is nil when one of them is more than a warning.
func Load(src Source) (*Model, Errors) {
	r := newRun(src)
	names, err := r.names()
	if err != nil {
		r.log.add(r.file(src.Name, nil), unread(err))
		return r.finish()
	}
	left := maxBytes
	for _, name := range names {
		text, err := r.read(name, left)
		f := r.file(name, text)
		if err != nil {
			r.log.add(f, unread(err))
			r.broken = true
			continue
		}
		left -= len(text)
		r.decode(f)
	}
	return r.finish()
}

// LoadBytes is Load with text in place of what the file src.Name holds; the
// files that it refers to are still found through src. JSON is YAML enough.
func LoadBytes(text []byte, src Source) (*Model, Errors) {
	r := newRun(src)
	f := r.file(src.Name, text)
	if len(text) > maxBytes {
		r.log.add(f, &Error{Text: errTooLarge.Error()})
		return r.finish()
	}
	r.decode(f)
	return r.finish()
}

// run is one Load.
type run struct {
	*decoder
	src   Source
	model *Model
	files []*file
}

func newRun(src Source) *run {
	m := &Model{source: src}
	m.defaults()
	return &run{decoder: newDecoder(&journal{}), src: src, model: m}
}

func (r *run) file(ref string, text []byte) *file {
	f := newFile(ref, r.src.Show(ref), len(r.files), text)
	r.files = append(r.files, f)
	r.model.files = append(r.model.files, ref)
	return f
}

// decode adds one file to the model.
func (r *run) decode(f *file) {
	f.parse(r.log)
	if f.root == nil {
		r.broken = true
		return
	}
	root := &place{file: f, node: f.root}
	if m, ok := f.root.(*ast.MappingNode); ok {
		r.mapping(root, m, reflect.ValueOf(r.model).Elem())
		return
	}
	r.fail(root, "", "is %s; a configuration is a mapping that starts with version: 1", describe(f.root))
}

// finish checks the model and hands out the result.
func (r *run) finish() (*Model, Errors) {
	if len(r.places) > 0 {
		newChecker(r).model()
	}
	errs := r.log.sorted()
	if errs.Failed() {
		return nil, errs
	}
	return r.model, errs
}

// names lists the configuration files: src.Name, or those inside it.
func (r *run) names() ([]string, error) {
	if r.src.FS == nil {
		return nil, errors.New("there is no file system to read from")
	}
	info, err := fs.Stat(r.src.FS, r.src.Path(r.src.Name))
	if err != nil {
		return nil, cannot("read", err)
	}
	if !info.IsDir() {
		return []string{r.src.Name}, nil
	}
	entries, err := fs.ReadDir(r.src.FS, r.src.Path(r.src.Name))
	if err != nil {
		return nil, cannot("read", err)
	}
	var names []string
	for _, e := range entries {
		ext := path.Ext(e.Name())
		switch hidden := strings.HasPrefix(e.Name(), "."); { // an editor's, or a lock
		case hidden || ext != ".yaml" && ext != ".yml":
		case e.IsDir():
			return nil, fmt.Errorf("%s is a folder; the files of a configuration stand in one folder", e.Name())
		default:
			names = append(names, path.Join(r.src.Name, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, errNoFiles
	}
	return names, nil
}

var (
	errTooLarge = fmt.Errorf("the configuration is larger than %d MiB", maxBytes>>20)
	errNoFiles  = errors.New("the folder holds no *.yaml or *.yml file")
)

// unread is the error of a file that was not read, or not to its end.
func unread(err error) *Error {
	known := errors.Is(err, errTooLarge) || errors.Is(err, errNoFiles) // and what is wrong with it
	return &Error{Text: err.Error(), Unread: !known}
}

// read reads one file, but no more than is left of the run's limit.
func (r *run) read(name string, left int) ([]byte, error) {
	f, err := r.src.Open(name)
	if err != nil {
		return nil, cannot("read", err)
	}
	defer f.Close() // opened for reading: closing cannot lose anything
	text, err := io.ReadAll(io.LimitReader(f, int64(left)+1))
	if err != nil {
		return nil, cannot("read", err)
	}
	if len(text) > left {
		return nil, errTooLarge
	}
	return text, nil
}

// cannot says what failed without the path, which the message already has.
func cannot(verb string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("cannot %s it: %w", verb, err)
}

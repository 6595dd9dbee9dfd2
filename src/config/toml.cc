#include "config/toml.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <tuple>
#include <vector>

namespace {

// Malformed text can bring the parser (3.3.0) to an assertion of its own; that refuses the file, not the daemon's life.
struct parser_gave_up {};

[[noreturn]] void give_up()
{
	throw parser_gave_up{};
}

} // namespace

#undef NDEBUG // the library would tell the compiler that its assertions hold
#define TOML_ASSERT(expr_) ((expr_) ? (void)0 : give_up())
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

namespace {

struct row {
	std::string_view table, key;
	long index;
	unsigned group; // first line of its table, which keeps a table's rows together
	toml_value value;
	std::vector<toml_value> items;
};

const char *type_name(toml::node_type type)
{
	switch (type) {
	case toml::node_type::table: return "a table";
	case toml::node_type::array: return "a list";
	case toml::node_type::string: return "a string";
	case toml::node_type::integer: return "an integer";
	case toml::node_type::floating_point: return "a number with a point";
	case toml::node_type::boolean: return "a boolean";
	case toml::node_type::date: return "a date";
	case toml::node_type::time: return "a time";
	case toml::node_type::date_time: return "a date and time";
	case toml::node_type::none: break;
	}
	return "nothing";
}

toml_value value_of(const toml::node &node)
{
	toml_value v = {};

	v.type = TOML_OTHER;
	v.type_name = type_name(node.type());
	v.line = node.source().begin.line;
	if (auto s = node.as_string()) {
		v.type = TOML_STRING;
		v.text = s->get().c_str();
		v.text_bytes = s->get().size();
	} else if (auto i = node.as_integer()) {
		v.type = TOML_INTEGER;
		v.number = i->get();
	} else if (auto b = node.as_boolean()) {
		v.type = TOML_BOOL;
		v.number = b->get();
	} else if (node.as_array()) {
		v.type = TOML_LIST;
	}
	return v;
}

void add_value(std::vector<row> &rows, std::string_view table, long index, std::string_view key, const toml::node &node)
{
	row r{ table, key, index, node.source().begin.line, value_of(node), {} };

	if (auto list = node.as_array())
		for (const auto &item : *list) {
			toml_value v = value_of(item);
			if (v.type == TOML_LIST)
				v.type = TOML_OTHER;
			r.items.push_back(v);
		}
	rows.push_back(std::move(r));
}

void add_table(std::vector<row> &rows, std::string_view name, long index, const toml::table &table)
{
	toml_value v = value_of(table);

	size_t first = rows.size();
	unsigned group = v.line;

	v.type = TOML_TABLE;
	rows.push_back(row{ name, {}, index, v.line, v, {} });
	for (auto &&[key, node] : table) {
		add_value(rows, name, index, key.str(), node);
		group = std::min(group, rows.back().value.line);
	}
	for (size_t i = first; i < rows.size(); i++)
		rows[i].group = group;
}

void add_all(std::vector<row> &rows, const toml::table &top)
{
	for (auto &&[key, node] : top) {
		if (auto table = node.as_table()) {
			add_table(rows, key.str(), -1, *table);
		} else if (node.is_array_of_tables()) {
			long i = 0;
			for (const auto &element : *node.as_array())
				add_table(rows, key.str(), i++, *element.as_table());
		} else {
			add_value(rows, {}, -1, key.str(), node);
		}
	}
}

// By table, the table itself before its keys, then by line.
bool earlier(const row &a, const row &b)
{
	return std::make_tuple(a.group, !a.key.empty(), a.value.line) < std::make_tuple(b.group, !b.key.empty(), b.value.line);
}

void hand_out(const std::vector<row> &rows, void (*fn)(void *, const toml_row *), void *ctx)
{
	for (const row &r : rows) {
		toml_row out = {};
		out.table = r.table.data() ? r.table.data() : "";
		out.table_bytes = r.table.size();
		out.index = r.index;
		out.key = r.key.data() ? r.key.data() : "";
		out.key_bytes = r.key.size();
		out.value = r.value;
		out.items = r.items.data();
		out.n_items = r.items.size();
		fn(ctx, &out);
	}
}

bool gives_up(std::string_view text)
try {
	(void)toml::parse(text); // whatever else comes of it
	return false;
} catch (const parser_gave_up &) {
	return true;
}

// The parser goes from line to line, so text cut after the line that it gives up on still makes it give up.
unsigned line_given_up_on(std::string_view text)
{
	std::vector<size_t> ends;

	for (size_t i = 0; i < text.size(); i++)
		if (text[i] == '\n')
			ends.push_back(i + 1);
	ends.push_back(text.size());
	size_t low = 0, high = ends.size() - 1;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (gives_up(text.substr(0, ends[middle])))
			high = middle;
		else
			low = middle + 1;
	}
	return static_cast<unsigned>(low + 1);
}

int read_rows(std::string_view text, void (*fn)(void *, const toml_row *), void *ctx, char *error, size_t error_bytes, unsigned *error_line)
try {
	std::vector<row> rows;
	auto result = toml::parse(text);

	if (!result) {
		auto what = result.error().description();
		(void)std::snprintf(error, error_bytes, "%.*s", static_cast<int>(what.size()), what.data()); // may be cut
		*error_line = result.error().source().begin.line;
		return -EBADMSG;
	}
	add_all(rows, result.table());
	std::stable_sort(rows.begin(), rows.end(), earlier);
	hand_out(rows, fn, ctx);
	return 0;
} catch (const parser_gave_up &) {
	(void)std::snprintf(error, error_bytes, "not TOML: incomplete or misplaced"); // fits
	*error_line = line_given_up_on(text);
	return -EBADMSG;
}

} // namespace

extern "C" int toml_read(const char *text, size_t bytes, void (*fn)(void *ctx, const struct toml_row *row), void *ctx,
			 char *error, size_t error_bytes, unsigned *error_line)
try {
	return read_rows(std::string_view(bytes ? text : "", bytes), fn, ctx, error, error_bytes, error_line);
} catch (...) {
	return -ENOMEM; // nothing else is thrown with TOML_EXCEPTIONS off
}

#include "ctoml.h"

// toml++ states as assertions what some texts ("[[[[", for one) break: in a debug build they end
// the program, in a release build they are assumed true. Here they are errors like all others.
namespace {
struct broken_expectation {};
}  // namespace
#undef NDEBUG
#pragma GCC diagnostic ignored "-Wexceptions"
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : throw broken_expectation{})
#define TOML_ASSERT_ASSUME(expr) TOML_ASSERT(expr)
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 1

#include <algorithm>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <toml++/toml.h>
#include <vector>

namespace {

struct entry {
    std::string key;
    std::string value;
    ctoml_type type;
    uint32_t line;
    uint32_t column;
};

ctoml_text text_of(const std::string &s) { return {s.data(), s.size()}; }

}  // namespace

struct ctoml_document {
    bool valid = false;
    std::string message;
    uint32_t error_line = 0;
    uint32_t error_column = 0;
    std::vector<entry> entries;
};

namespace {

template <typename T>
std::string formatted(const T &value) {
    std::ostringstream out;
    out << value;
    return out.str();
}

void flatten(const toml::node &node, const std::string &path, std::vector<entry> &out);

void flatten_table(const toml::table &table, const std::string &path, std::vector<entry> &out) {
    for (auto &&[name, child] : table) {
        const std::string key(std::string_view(name.str()));
        flatten(child, path.empty() ? key : path + "." + key, out);
    }
}

void flatten(const toml::node &node, const std::string &path, std::vector<entry> &out) {
    if (const auto *table = node.as_table()) {
        flatten_table(*table, path, out);
        return;
    }
    if (const auto *array = node.as_array()) {
        size_t index = 0;
        for (const auto &child : *array) {
            flatten(child, path + "[" + std::to_string(index++) + "]", out);
        }
        return;
    }
    entry made{path, {}, CTOML_STRING, node.source().begin.line, node.source().begin.column};
    if (const auto *text = node.as_string()) {
        made.value = text->get();
    } else if (const auto *integer = node.as_integer()) {
        made.type = CTOML_INTEGER;
        made.value = std::to_string(integer->get());
    } else if (const auto *number = node.as_floating_point()) {
        made.type = CTOML_FLOAT;
        made.value = formatted(*number);
    } else if (const auto *flag = node.as_boolean()) {
        made.type = CTOML_BOOLEAN;
        made.value = flag->get() ? "true" : "false";
    } else {
        made.type = CTOML_DATE_OR_TIME;
        if (const auto *date = node.as_date()) made.value = formatted(date->get());
        if (const auto *time = node.as_time()) made.value = formatted(time->get());
        if (const auto *both = node.as_date_time()) made.value = formatted(both->get());
    }
    out.push_back(std::move(made));
}

/* Whether the parser stumbles in these bytes without saying where. */
bool stumbles(std::string_view text) {
    try {
        (void)toml::parse(text);
    } catch (const broken_expectation &) {
        return true;
    } catch (const toml::parse_error &) {
    }
    return false;
}

/* The line the parser stumbles in: it reads in order, so the first line that must be there. */
uint32_t stumbling_line(std::string_view text) {
    std::vector<size_t> ends;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\n') ends.push_back(i + 1);
    }
    ends.push_back(text.size());
    const auto found = std::partition_point(
        ends.begin(), ends.end() - 1,
        [&](size_t end) { return !stumbles(text.substr(0, end)); });
    return static_cast<uint32_t>(found - ends.begin()) + 1;
}

void parse(ctoml_document &document, std::string_view text) {
    try {
        flatten_table(toml::parse(text), "", document.entries);
    } catch (const toml::parse_error &error) {
        document.message = std::string(error.description());
        document.error_line = error.source().begin.line;
        document.error_column = error.source().begin.column;
        return;
    } catch (const broken_expectation &) {
        document.message = "a key was expected";
        document.error_line = stumbling_line(text);
        document.error_column = 1;
        return;
    }
    std::sort(
        document.entries.begin(), document.entries.end(), [](const entry &a, const entry &b) {
            return a.line != b.line ? a.line < b.line : a.column < b.column;
        });
    document.valid = true;
}

}  // namespace

extern "C" {

ctoml_document *ctoml_parse(const char *text, size_t count) {
    auto *document = new (std::nothrow) ctoml_document;
    if (!document) return nullptr;
    try {
        parse(*document, std::string_view(text, count));
        return document;
    } catch (...) {
        // Only memory can run out here.
        delete document;
        return nullptr;
    }
}

void ctoml_free(ctoml_document *document) { delete document; }

int ctoml_is_valid(const ctoml_document *document) { return document->valid; }

ctoml_text ctoml_error_message(const ctoml_document *document) {
    return text_of(document->message);
}

uint32_t ctoml_error_line(const ctoml_document *document) { return document->error_line; }

uint32_t ctoml_error_column(const ctoml_document *document) { return document->error_column; }

size_t ctoml_entry_count(const ctoml_document *document) { return document->entries.size(); }

ctoml_entry ctoml_entry_at(const ctoml_document *document, size_t index) {
    if (index >= document->entries.size()) return {};
    const entry &found = document->entries[index];
    return {text_of(found.key), text_of(found.value), found.type, found.line, found.column};
}

}  // extern "C"

/* A TOML document as a flat list of values, in the order they stand in the text. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ctoml_document ctoml_document;

typedef enum {
    CTOML_STRING,
    CTOML_INTEGER,
    CTOML_FLOAT,
    CTOML_BOOLEAN,
    CTOML_DATE_OR_TIME
} ctoml_type;

/* Strings are UTF-8, not terminated, and live as long as the document. */
typedef struct {
    const char *bytes;
    size_t count;
} ctoml_text;

typedef struct {
    /* Path to the value: "a.b", elements of arrays as "a[0]", of arrays of tables as "a[0].b". */
    ctoml_text key;
    /* The value as text, strings without their quotes. */
    ctoml_text value;
    ctoml_type type;
    uint32_t line;
    uint32_t column;
} ctoml_entry;

/* Never throws; NULL only when there is no memory. Free with ctoml_free. */
ctoml_document *ctoml_parse(const char *text, size_t count);
void ctoml_free(ctoml_document *document);

/* Whether the text is TOML; if not, message, line and column say what is wrong. */
int ctoml_is_valid(const ctoml_document *document);
ctoml_text ctoml_error_message(const ctoml_document *document);
uint32_t ctoml_error_line(const ctoml_document *document);
uint32_t ctoml_error_column(const ctoml_document *document);

size_t ctoml_entry_count(const ctoml_document *document);
ctoml_entry ctoml_entry_at(const ctoml_document *document, size_t index);

#ifdef __cplusplus
}
#endif

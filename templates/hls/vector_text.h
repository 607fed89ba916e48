// Reads vector files: text, a beat per line, decimal integers separated by spaces, "-" for a lane without a value.
// A file that cannot be read as such ends the program with exit code 2, by file and line.
#ifndef TILEWRIGHT_VECTOR_TEXT_H
#define TILEWRIGHT_VECTOR_TEXT_H

#include <cstdio>
#include <cstdlib>

struct text_t {
    char path[4096];
    char* bytes;
    long size, at;
    unsigned line;
};

static void unusable(const text_t& text, const char* why) {
    std::fprintf(stderr, "%s:%u: %s\n", text.path, text.line, why);
    std::exit(2);
}

static void open_text(text_t& text, const char* folder, const char* name) {
    std::snprintf(text.path, sizeof text.path, "%s/%s.txt", folder, name);
    text.line = 1;
    text.at = 0;
    std::FILE* file = std::fopen(text.path, "rb");
    if (!file) unusable(text, "cannot be opened");
    std::fseek(file, 0, SEEK_END);
    text.size = std::ftell(file);
    std::rewind(file);
    text.bytes = static_cast<char*>(text.size < 0 ? 0 : std::malloc(text.size + 1));
    if (!text.bytes || std::fread(text.bytes, 1, text.size, file) != static_cast<std::size_t>(text.size))
        unusable(text, "cannot be read");
    text.bytes[text.size] = 0;
    std::fclose(file);
}

static bool is_blank(char letter) {
    return letter == ' ' || letter == '\n' || letter == '\r' || letter == '\t';
}

static bool at_end(text_t& text) {
    for (; text.at < text.size && is_blank(text.bytes[text.at]); text.at++)
        if (text.bytes[text.at] == '\n') text.line++;
    return text.at == text.size;
}

// The next word as an integer; false for "-".
static bool next_value(text_t& text, long long& value) {
    if (at_end(text)) unusable(text, "ends before its job does");
    const bool negative = text.bytes[text.at] == '-';
    if (negative) text.at++;
    const long digits = text.at;
    value = 0;
    for (; text.bytes[text.at] >= '0' && text.bytes[text.at] <= '9' && text.at - digits < 18; text.at++)
        value = value * 10 + (text.bytes[text.at] - '0');
    if (text.at < text.size && !is_blank(text.bytes[text.at])) unusable(text, "not an integer");
    if (negative) value = -value;
    return text.at > digits;
}

static long long next_integer(text_t& text) {
    long long value = 0;
    if (!next_value(text, value)) unusable(text, "not an integer");
    return value;
}

// Reads an integer into `target`, whose type must hold it.
template <typename T>
void read_into(text_t& text, T& target) {
    const long long value = next_integer(text);
    target = value;
    if (target.to_int64() != value) unusable(text, "does not fit the port");
}

#endif

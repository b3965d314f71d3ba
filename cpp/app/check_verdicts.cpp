#include "app/check_verdicts.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace twingrad::app {
namespace {

/// With U+FFFD in place of bytes that are not UTF-8.
std::string valid_utf8(const std::string& text) {
  const nlohmann::json json = text;
  const std::string valid = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(valid).get<std::string>();
}

/// The text of an XML attribute or element. XML has no control characters but tab and the ends of lines.
std::string xml_text(const std::string& text) {
  std::string escaped;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return escaped;
}

/// The text of a workflow command of GitHub. property: a value before the second "::".
std::string github_text(const std::string& text, bool property) {
  std::string escaped;
  for (const char c : valid_utf8(text)) {
    const bool special = c == '%' || c == '\r' || c == '\n' || (property && (c == ':' || c == ','));
    escaped += special ? fmt::format("%{:02X}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return escaped;
}

}  // namespace

std::string to_github(const std::vector<CheckVerdict>& verdicts) {
  std::string lines;
  for (const CheckVerdict& verdict : verdicts) {
    if (!verdict.passed) {
      lines += fmt::format("::error title={}::{}\n",
                           github_text("twingrad check: " + verdict.entry + ", " + verdict.name, true),
                           github_text(verdict.detail, false));
    }
  }
  return lines;
}

std::string to_junit(const std::vector<CheckVerdict>& verdicts, double seconds) {
  const auto failures = std::count_if(verdicts.begin(), verdicts.end(),
                                      [](const CheckVerdict& verdict) { return !verdict.passed; });
  std::string xml = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      "<testsuite name=\"twingrad check\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"0\" "
      "time=\"{:.3f}\">\n",
      verdicts.size(), failures, seconds);
  for (const CheckVerdict& verdict : verdicts) {
    xml += fmt::format("<testcase classname=\"{}\" name=\"{}\"", xml_text(verdict.entry),
                       xml_text(verdict.name));
    if (verdict.passed) {
      xml += "/>\n";
      continue;
    }
    const std::string first_line = verdict.detail.substr(0, verdict.detail.find('\n'));
    xml += fmt::format("><failure message=\"{}\">{}</failure></testcase>\n", xml_text(first_line),
                       xml_text(verdict.detail));
  }
  return xml + "</testsuite>\n</testsuites>\n";
}

void print_verdicts(const std::vector<CheckVerdict>& verdicts, double seconds, CheckFormat format) {
  if (format == CheckFormat::github || format == CheckFormat::junit) {
    fmt::print("{}", format == CheckFormat::github ? to_github(verdicts) : to_junit(verdicts, seconds));
  }
}

}  // namespace twingrad::app

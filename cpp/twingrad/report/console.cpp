#include "twingrad/report/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "twingrad/runtime/text.h"

namespace twingrad {
namespace {

/// The current width of the terminal, which can change between two lines.
std::size_t columns_of(std::FILE* stream) {
  winsize size{};
  return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// The longest prefix of a UTF-8 text with at most `columns` characters.
std::string shortened(const std::string& text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins_a_character = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins_a_character && seen++ == columns) {
      return text.substr(0, i);
    }
  }
  return text;
}

std::string percent(double fraction) { return fmt::format("{:.2f}%", 100 * fraction); }

std::string duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  return whole < 60 ? fmt::format("{} s", whole) : fmt::format("{}:{:02} min", whole / 60, whole % 60);
}

/// "gradients at equal weights agree to 3.1e-07 (bound 1e-06)"
std::string describe_gradients(const Agreement& agreement) {
  if (agreement.verdict.starts_with("nothing to compare")) {
    return "gradients not compared" + agreement.verdict.substr(agreement.verdict.find(':'));
  }
  std::string text =
      agreement.verdict == "differs"
          ? fmt::format("gradients at equal weights DIFFER by {:.1e}", agreement.max_rel_gradient_difference)
          : fmt::format("gradients at equal weights agree to {:.1e}", agreement.max_rel_gradient_difference);
  text += fmt::format(" (bound {:.0e}, worst {})", agreement.bound, agreement.worst);
  if (agreement.rows_set_aside > 0) {
    text += fmt::format(" · {} of {} rows near a kink set aside", agreement.rows_set_aside, agreement.rows);
  }
  return text;
}

/// "trainings 4.1e-02 apart (rounding, amplified by the optimizer)"
std::string describe_distance(const Agreement& agreement) {
  constexpr double kMoreThanRounding = 1e-5;
  const double distance = agreement.max_abs_weight_difference;
  return fmt::format("trainings {:.1e} apart{}", distance,
                     distance > kMoreThanRounding ? " (rounding, amplified by the optimizer)" : "");
}

std::string describe_speed(double autograd_seconds, double manual_seconds) {
  return manual_seconds <= autograd_seconds
             ? fmt::format("manual twin {:.2f}× faster", autograd_seconds / manual_seconds)
             : fmt::format("manual twin {:.2f}× slower", manual_seconds / autograd_seconds);
}

}  // namespace

Console::Style Console::style_of(std::FILE* stream) {
  const bool terminal = isatty(fileno(stream)) == 1;
  const char* kind = std::getenv("TERM");
  const bool dumb = kind == nullptr || std::string_view(kind) == "dumb";
  const char* no_color = std::getenv("NO_COLOR");
  return {.color = terminal && !dumb && (no_color == nullptr || *no_color == '\0'),
          .progress_line = terminal && !dumb};
}

void Console::erase_progress() {
  if (progress_is_shown_) {
    std::fputs("\r\x1b[K", stream_);
    progress_is_shown_ = false;
  }
}

void Console::line(const std::string& text, Look look) {
  if (style_.quiet) {
    return;
  }
  erase_progress();
  const char* begin = look == Look::bold ? "\x1b[1m" : "\x1b[2m";
  const bool colored = style_.color && look != Look::plain;
  fmt::print(stream_, "{}{}{}\n", colored ? begin : "", text, colored ? "\x1b[0m" : "");
  std::fflush(stream_);
}

void Console::heading(const std::vector<std::pair<std::string, std::string>>& lines) {
  for (const auto& [label, text] : lines) {
    line(fmt::format("{:<12}{}", label, text));
  }
  line("");
}

void Console::on_progress(const Progress& progress) {
  if (style_.quiet || !style_.progress_line) {
    return;
  }
  constexpr int kBarWidth = 24;
  const int filled = static_cast<int>(progress.fraction_of_epoch * kBarWidth);
  std::string bar;
  for (int i = 0; i < kBarWidth; ++i) {
    bar += i < filled ? "━" : "─";
  }
  const std::string text =
      fmt::format("epoch {}/{} {} loss {:.4f} · {} samples/s · {} left", progress.epoch, progress.epochs, bar,
                  progress.loss, with_separators(std::llround(progress.samples_per_second)),
                  duration(progress.seconds_left));
  fmt::print(stream_, "\r{}\x1b[K", shortened(text, columns_of(stream_) - 1));
  std::fflush(stream_);
  progress_is_shown_ = true;
}

void Console::on_epoch(const EpochMetrics& metrics) {
  if (epoch_shown_ == 0) {
    line(fmt::format("{:>5}  {:<9} {:>10} {:>8} {:>11} {:>8} {:>9} {:>12}", "epoch", "twin", "train loss",
                     "acc", "test loss", "acc", "time", "samples/s"),
         Look::bold);
  }
  std::string row = fmt::format("{:>5}  {:<9} {:>10.4f} {:>8} {:>11.4f} {:>8} {:>7.3f} s {:>12}",
                                metrics.epoch == epoch_shown_ ? "" : std::to_string(metrics.epoch),
                                metrics.twin, metrics.train_loss, percent(metrics.train_accuracy),
                                metrics.test_loss, percent(metrics.test_accuracy), metrics.seconds,
                                with_separators(std::llround(metrics.samples_per_second)));
  if (metrics.twin == "autograd") {
    autograd_seconds_ = metrics.seconds;
  } else if (autograd_seconds_ > 0) {
    row += fmt::format("  {:.2f}×", autograd_seconds_ / metrics.seconds);
  }
  epoch_shown_ = metrics.epoch;
  line(row);
}

void Console::on_agreement(const Agreement& agreement, bool is_report) {
  if (!is_report) {
    return;
  }
  if (agreement.epoch == 0) {
    line(fmt::format("before step 1   {}", describe_gradients(agreement)));
    line("");
    return;
  }
  line(fmt::format("       {} · {}", describe_gradients(agreement), describe_distance(agreement)), Look::dim);
}

void Console::ending(const TrainingResult& result, const std::string& directory, const std::string& files) {
  line("");
  for (const EpochMetrics& metrics : result.last) {
    line(fmt::format("{:<9} test accuracy {} · {:.2f} s training time", metrics.twin,
                     percent(metrics.test_accuracy), result.seconds.at(metrics.twin)));
  }
  if (result.agreements.size() > 1) {
    const auto worst = std::max_element(
        result.agreements.begin(), result.agreements.end(), [](const Agreement& a, const Agreement& b) {
          return a.max_rel_gradient_difference < b.max_rel_gradient_difference;
        });
    line(fmt::format("twins     {}", describe_gradients(*worst)));
    line(fmt::format("          {} · {}", describe_distance(result.agreements.back()),
                     describe_speed(result.seconds.at("autograd"), result.seconds.at("manual"))));
  }
  line(
      fmt::format("{} to {}: {}", result.interrupted ? "Interrupted. Written" : "Written", directory, files));
}

}  // namespace twingrad

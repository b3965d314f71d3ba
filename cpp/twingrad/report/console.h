#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/training/observer.h"

namespace twingrad {

/// Prints a run as text: a heading, a progress line on a terminal, a row per epoch and twin, and a summary.
class Console final : public TrainingObserver {
 public:
  struct Style {
    bool color = false;          ///< a terminal, and NO_COLOR is not set
    bool progress_line = false;  ///< a terminal that can rewrite a line
    bool quiet = false;          ///< print nothing
  };

  /// The style that the stream and the environment support.
  static Style style_of(std::FILE* stream);

  Console(std::FILE* stream, Style style) : stream_(stream), style_(style) {}

  /// Prints lines with aligned labels: "Network   784-128-10 · …".
  void heading(const std::vector<std::pair<std::string, std::string>>& lines);
  void on_progress(const Progress& progress) override;
  void on_epoch(const EpochMetrics& metrics) override;
  void on_agreement(const Agreement& agreement, bool is_report) override;
  /// Prints the last lines: accuracy, training time, agreement, and the files written to the run directory.
  void ending(const TrainingResult& result, const std::string& directory, const std::string& files);

 private:
  enum class Look { plain, bold, dim };
  void line(const std::string& text, Look look = Look::plain);
  void erase_progress();

  std::FILE* stream_;
  Style style_;
  bool progress_is_shown_ = false;
  std::int64_t epoch_shown_ = 0;
  double autograd_seconds_ = 0;
};

}  // namespace twingrad

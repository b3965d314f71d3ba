#include "twingrad/training/trainer.h"

#include <ATen/Dispatch.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/cuda.h>

#include <algorithm>
#include <cmath>

#include "twingrad/compare/distance.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/monotonic_clock.h"
#include "twingrad/training/test_examination.h"

namespace twingrad {
namespace {

constexpr std::int64_t kEvaluationBatch = 1000;
/// The most rows of a batch that are compared: enough for several blocks per thread.
constexpr std::int64_t kMostComparedRows = 2048;
constexpr double kSecondsBetweenProgress = 0.1;

/// The number of rows of the logits [B, C] whose first maximum is at their label. The four equivalent tensor
/// operations would add 5 µs to the 50 µs of a step at batch size 16, while other threads wait.
std::int64_t count_correct(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor rows = logits.to(at::kCPU).contiguous();
  const at::Tensor of_rows = labels.to(at::kCPU);
  const auto* label = of_rows.data_ptr<std::int64_t>();
  std::int64_t correct = 0;
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "count_correct", [&] {
    const auto* row = rows.data_ptr<scalar_t>();
    const std::int64_t classes = rows.size(1);
    for (std::int64_t i = 0; i < rows.size(0); ++i, row += classes) {
      correct += std::max_element(row, row + classes) - row == label[i] ? 1 : 0;
    }
  });
  return correct;
}

bool is_finite(const at::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); }

std::string without_suffix(const std::string& text, std::string_view suffix) {
  return text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text;
}

Agreement agreement_of(const Comparison& comparison) {
  Agreement agreement{.worst = "",
                      .tensors = std::ssize(comparison.tensors),
                      .rows = comparison.rows,
                      .rows_set_aside = comparison.rows_set_aside,
                      .verdict = comparison.verdict(),
                      .autograd_loss = comparison.autograd_loss,
                      .manual_loss = comparison.manual_loss};
  for (const TensorComparison& tensor : comparison.tensors) {
    if (tensor.part == TensorComparison::Part::gradient) {
      agreement.gradients[without_suffix(tensor.name, ".grad")] = tensor.max_rel;
      agreement.max_abs_gradient_difference = std::max(agreement.max_abs_gradient_difference, tensor.max_abs);
    }
  }
  if (const TensorComparison* worst = comparison.worst_gradient(); worst != nullptr) {
    agreement.max_rel_gradient_difference = worst->max_rel;
    agreement.bound = worst->relative_bound();
    agreement.worst = without_suffix(worst->name, ".grad");
  }
  return agreement;
}

std::string first_non_finite(const std::vector<NamedTensor>& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (tensor.defined() && !is_finite(tensor)) {
      return name;
    }
  }
  return "";
}

}  // namespace

Trainer::Trainer(const MlpSpec& spec, const std::vector<Twin*>& twins, const data::ImageTensors& train,
                 const data::ImageTensors& test, const TrainingOptions& options,
                 const std::vector<TrainingObserver*>& observers)
    : spec_(spec), twins_(twins), train_(train), test_(test), options_(options), observers_(observers) {
  const auto floats = at::TensorOptions().dtype(options.dtype).device(options.device);
  const auto integers = at::TensorOptions().dtype(at::kLong).device(options.device);
  images_ = at::empty({0}, floats);
  labels_ = at::empty({0}, integers);
  test_images_ = at::empty({0}, floats);
  test_labels_ = at::empty({0}, integers);
}

double Trainer::now() const {
  if (options_.device.is_cuda()) {
    torch::cuda::synchronize();
  }
  return monotonic_seconds();
}

TrainingResult Trainer::run(const std::atomic<bool>& stop, TrainingProgress from) {
  progress_ = std::move(from);
  progress_.result.interrupted = false;
  run_start_ = now();
  samples_at_start_ = samples_done();
  if (progress_.result.steps == 0) {
    save();
  }
  while (progress_.epoch <= options_.epochs && !progress_.result.interrupted) {
    run_epoch(stop);
  }
  return progress_.result;
}

double Trainer::samples_done() const {
  return static_cast<double>(progress_.epoch - 1) * static_cast<double>(train_.count()) +
         static_cast<double>(progress_.samples_done);
}

void Trainer::run_epoch(const std::atomic<bool>& stop) {
  const std::int64_t epoch = progress_.epoch;
  const bool is_reported = epoch == 1 || epoch == options_.epochs || epoch % options_.evaluate_every == 0;
  const std::int64_t count = train_.count();
  if (progress_.samples_done == 0) {
    progress_.tallies.assign(twins_.size(), {});
  }

  const double start = now();
  const at::Tensor order = options_.batch_size == 0 ? at::arange(count, at::kLong)
                                                    : data::shuffled_indices(count, options_.seed, epoch);
  const double shuffle_seconds = now() - start;
  for (Tally& tally : progress_.tallies) {
    tally.seconds += shuffle_seconds;
  }
  for (const Twin* twin : twins_) {
    progress_.result.seconds_by_part[twin->name()].gather += shuffle_seconds;
  }
  while (progress_.samples_done < count) {
    const std::int64_t first = progress_.samples_done;
    const std::int64_t size = std::min(batch_size(), count - first);
    const bool is_last = first + size == count;
    step(order.narrow(0, first, size), is_last && is_reported);
    progress_.samples_done += size;
    report_progress();
    if (is_last) {
      break;  // its checkpoint follows the report
    }
    if (options_.checkpoint_every > 0 && progress_.result.steps % options_.checkpoint_every == 0) {
      save();
    }
    if (stop) {
      progress_.result.interrupted = true;
      save();
      return;
    }
  }
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    progress_.result.seconds[twins_[i]->name()] += progress_.tallies[i].seconds;
  }
  if (is_reported) {
    report_epoch();
  }
  ++progress_.epoch;
  progress_.samples_done = 0;
  const bool is_end = epoch == options_.epochs;
  progress_.result.interrupted = stop && !is_end;
  if (options_.checkpoint_every == 0 || is_end || stop ||
      progress_.result.steps % options_.checkpoint_every == 0) {
    save();
  }
}

void Trainer::save() {
  for (const Twin* twin : twins_) {
    const std::string tensor = first_non_finite(twin->parameters());
    if (!tensor.empty()) {
      throw CheckFailed(fmt::format(
          "step {}: the update of the {} twin produced an entry in {} that is not finite; a smaller --lr "
          "may help",
          progress_.result.steps, twin->name(), tensor));
    }
  }
  for (TrainingObserver* observer : observers_) {
    observer->on_checkpoint(progress_);
  }
}

void Trainer::prepare_step(const at::Tensor& indices) {
  if (!holds_full_batch_) {
    train_.gather(indices, images_, labels_);
    holds_full_batch_ = options_.batch_size == 0;
  }
  masks_ = draw_dropout_masks(spec_, indices.size(0), options_.seed, progress_.result.steps);
  for (at::Tensor& mask : masks_) {
    mask = mask.to(options_.device);
  }
  const std::int64_t steps_per_epoch = (train_.count() + batch_size() - 1) / batch_size();
  const double rate = learning_rate_at(options_.schedule, options_.lr, progress_.result.steps,
                                       steps_per_epoch, steps_per_epoch * options_.epochs);
  for (Twin* twin : twins_) {
    if (options_.schedule.kind != ScheduleOptions::Kind::constant || options_.schedule.warm_up > 0) {
      twin->set_lr(rate);
    }
  }
}

void Trainer::step(const at::Tensor& indices, bool is_reported) {
  const std::int64_t steps = progress_.result.steps;
  double start = now();
  prepare_step(indices);
  const double gather_seconds = now() - start;
  if (twins_.size() == 2 &&
      (is_reported || steps == 0 || (options_.compare_every > 0 && steps % options_.compare_every == 0))) {
    compare(is_reported);
  }
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    Twin& twin = *twins_[i];
    Tally& tally = progress_.tallies[i];
    twin.set_dropout_masks(masks_);
    start = now();
    const double loss = twin.compute_gradients(images_, labels_);
    const double seconds = now() - start;
    tally.seconds += gather_seconds + seconds;
    StepSeconds& parts = progress_.result.seconds_by_part[twin.name()];
    parts.gather += gather_seconds;
    parts.forward += twin.seconds_in_forward();
    parts.backward += seconds - twin.seconds_in_forward();
    check_finite(twin, loss);
    tally.loss_sum += loss * static_cast<double>(indices.size(0));
    tally.correct += count_correct(twin.logits(), labels_);
    tally.samples += indices.size(0);
  }
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    start = now();
    twins_[i]->update();
    const double seconds = now() - start;
    progress_.tallies[i].seconds += seconds;
    progress_.result.seconds_by_part[twins_[i]->name()].optimizer += seconds;
  }
  ++progress_.result.steps;
}

void Trainer::check_finite(Twin& twin, double loss) const {
  if (std::isfinite(loss)) {
    return;
  }
  std::string tensor = first_non_finite(twin.parameters());
  if (tensor.empty()) {
    if (twin.intermediates().empty()) {  // compute_gradients does not keep them
      twin.forward(images_, labels_);
    }
    tensor = first_non_finite(twin.intermediates());
  }
  throw CheckFailed(
      fmt::format("step {}: the loss of the {} twin is {}; the first tensor with such an entry is {}; "
                  "a smaller --lr, --init uniform or --loss cross_entropy may help",
                  progress_.result.steps + 1, twin.name(), std::isnan(loss) ? "not a number" : "infinite",
                  tensor.empty() ? "the loss itself" : tensor));
}

void Trainer::compare(bool is_reported) {
  if (!comparer_) {
    comparer_ = std::make_unique<TwinComparer>(*twins_[1], *twins_[0]);
  }
  const std::int64_t rows = std::min(images_.size(0), kMostComparedRows);
  Batch batch{.images = images_.narrow(0, 0, rows), .labels = labels_.narrow(0, 0, rows)};
  for (const at::Tensor& mask : masks_) {
    batch.masks.push_back(mask.narrow(0, 0, rows));
  }
  const Comparison comparison = comparer_->compare(batch);
  if (!comparison.is_finite) {
    return;  // the step itself reports it
  }
  Agreement agreement = agreement_of(comparison);
  agreement.epoch = progress_.epoch;
  agreement.step = progress_.result.steps;
  agreement.max_abs_weight_difference = compare_weights(*twins_[0], *twins_[1]).absolute;
  const bool differs = !comparison.passed() && !comparison.is_empty();
  if (const bool is_first = progress_.result.steps == 0; is_first || differs) {
    Agreement first = agreement;
    first.epoch = is_first ? 0 : progress_.epoch;
    report(std::move(first));
  } else if (!is_reported) {
    for (TrainingObserver* observer : observers_) {
      observer->on_agreement(agreement, /*is_report=*/false);
    }
  }
  if (differs) {
    const TensorComparison& wrong = *comparison.worst_gradient();
    throw CheckFailed(
        fmt::format("{}: {} differs between the twins by {:.2g} of its largest entry, more than rounding "
                    "explains ({:.2g}){}; "
                    "at fault: {}",
                    progress_.result.steps == 0 ? "before the first update"
                                                : fmt::format("step {}", progress_.result.steps + 1),
                    wrong.name, wrong.max_rel, agreement.bound, wrong.cause.empty() ? "" : ": " + wrong.cause,
                    comparison.at_fault));
  }
  agreement_ = std::move(agreement);
}

void Trainer::report(Agreement agreement) {
  progress_.result.agreements.push_back(std::move(agreement));
  for (TrainingObserver* observer : observers_) {
    observer->on_agreement(progress_.result.agreements.back(), /*is_report=*/true);
  }
}

std::vector<Trainer::Evaluation> Trainer::evaluate() {
  const at::NoGradGuard no_grad;
  for (Twin* twin : twins_) {
    twin->eval();
  }
  std::vector<Tally> tallies(twins_.size());
  TestExamination examination(spec_, twins_);
  for (std::int64_t first = 0; first < test_.count(); first += kEvaluationBatch) {
    const std::int64_t size = std::min(kEvaluationBatch, test_.count() - first);
    test_.gather(at::arange(first, first + size, at::kLong), test_images_, test_labels_);
    std::vector<at::Tensor> logits;
    for (std::size_t i = 0; i < twins_.size(); ++i) {
      const double loss = twins_[i]->forward(test_images_, test_labels_);
      check_finite(*twins_[i], loss);
      tallies[i].loss_sum += loss * static_cast<double>(size);
      logits.push_back(twins_[i]->logits());
    }
    const std::vector<std::int64_t> correct = examination.add(logits, test_labels_, first);
    for (std::size_t i = 0; i < twins_.size(); ++i) {
      tallies[i].correct += correct[i];
    }
  }
  for (Twin* twin : twins_) {
    twin->train();
  }
  std::vector<Evaluation> evaluations;
  const auto count = static_cast<double>(test_.count());
  for (const Tally& tally : tallies) {
    evaluations.push_back({tally.loss_sum / count, static_cast<double>(tally.correct) / count});
  }
  test_results_ = examination.results(progress_.epoch);
  return evaluations;
}

void Trainer::report_epoch() {
  if (twins_.size() == 2) {
    agreement_.step = progress_.result.steps;
    agreement_.max_abs_weight_difference = compare_weights(*twins_[0], *twins_[1]).absolute;
    agreement_.max_abs_optimizer_state_difference = compare_optimizer_state(*twins_[0], *twins_[1]).absolute;
  }
  const std::vector<Evaluation> test = evaluate();
  progress_.result.last.clear();
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    const auto mean = [](double sum, std::int64_t samples) { return sum / static_cast<double>(samples); };
    const Tally& train = progress_.tallies[i];
    const EpochMetrics metrics{.epoch = progress_.epoch,
                               .twin = twins_[i]->name(),
                               .train_loss = mean(train.loss_sum, train.samples),
                               .train_accuracy = mean(static_cast<double>(train.correct), train.samples),
                               .test_loss = test[i].loss,
                               .test_accuracy = test[i].accuracy,
                               .seconds = train.seconds,
                               .samples_per_second = static_cast<double>(train.samples) / train.seconds};
    progress_.result.last.push_back(metrics);
    for (TrainingObserver* observer : observers_) {
      observer->on_epoch(metrics);
    }
  }
  if (twins_.size() == 2) {
    report(agreement_);
  }
  for (TrainingObserver* observer : observers_) {
    observer->on_test_results(test_results_, progress_.result);
  }
}

void Trainer::report_progress() {
  const double elapsed = now() - run_start_;
  if (elapsed < next_progress_) {
    return;
  }
  next_progress_ = elapsed + kSecondsBetweenProgress;
  const auto count = static_cast<double>(train_.count());
  const double done = samples_done();
  const double all = static_cast<double>(options_.epochs) * count;
  const Tally& tally = progress_.tallies.back();
  const double samples_per_second = (done - samples_at_start_) / elapsed;
  const Progress progress{.epoch = progress_.epoch,
                          .epochs = options_.epochs,
                          .fraction_of_epoch = static_cast<double>(progress_.samples_done) / count,
                          .loss = tally.loss_sum / static_cast<double>(tally.samples),
                          .samples_per_second = samples_per_second,
                          .seconds_left = (all - done) / samples_per_second};
  for (TrainingObserver* observer : observers_) {
    observer->on_progress(progress);
  }
}

}  // namespace twingrad

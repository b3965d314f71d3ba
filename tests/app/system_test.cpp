#include <grp.h>
#include <sched.h>
#include <sys/resource.h>

#include <thread>

#include "app_fixture.h"

// What the system may refuse: output, threads, memory, signals, names that are not UTF-8.

namespace twingrad {
namespace {

class SystemTest : public AppTest {
 protected:
  /// Runs the program after `prepare` in its process; the result is the exit status.
  template <typename Prepare>
  int run_after(const Prepare& prepare, const Arguments& arguments) const {
    const pid_t child = fork();
    if (child == 0) {
      dup2(open((folder.path() / "errors").c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600), STDERR_FILENO);
      dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
      if (chdir(folder.path().c_str()) != 0) {
        _exit(126);
      }
      prepare();
      become_program(arguments);
    }
    return status_of(child);
  }
  std::string errors() const { return content(folder.path() / "errors"); }
};

TEST_F(SystemTest, OutputThatCannotBeWrittenExitsWith2) {
  ASSERT_EQ(train("--out run --quiet").status, 0);
  write_digit("a.png");
  const auto full = [] { dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO); };
  const auto closed = [] { close(STDOUT_FILENO); };
  const auto broken_pipe = [] {
    int ends[2];
    if (pipe(ends) != 0) {
      _exit(126);
    }
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    std::signal(SIGPIPE, SIG_IGN);
  };
  int number = 0;
  for (const std::string command :
       {"--help", "--version", "train --help", "check --list", "check relu", "check --list-bugs --json",
        "data list", "compare --dataset synthetic --hidden 4", "predict --model run a.png",
        "predict --json --model run a.png", "train --dataset synthetic --hidden 4 --epochs 2 --out out",
        "train --resume run --json", "bench --hidden 3 --batch-size 8 --repeats 1"}) {
    for (const std::function<void()>& prepare : {std::function<void()>(full), {closed}, {broken_pipe}}) {
      std::string line = command;
      if (line.ends_with(" out")) {
        line += std::to_string(++number);
      }
      EXPECT_EQ(run_after(prepare, line), 2) << line;
      EXPECT_THAT(errors(), HasSubstr("twingrad: error: standard output: expected to write all results"))
          << line;
    }
  }
}

TEST_F(SystemTest, AClosedStandardOutputDoesNotReachTheFilesOfARun) {
  const auto closed = [] {
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
  };
  EXPECT_EQ(run_after(closed, "train --dataset synthetic --hidden 4 --epochs 2 --out run"), 2);
  ASSERT_EQ(run("train --dataset synthetic --hidden 4 --epochs 2 --out open").status, 0);
  EXPECT_EQ(metrics("run").size(), metrics("open").size());
}

TEST_F(SystemTest, ErrorsThatCannotBePrintedKeepTheirStatus) {
  const auto full = [] { dup2(open("/dev/full", O_WRONLY), STDERR_FILENO); };
  EXPECT_EQ(run_after(full, "train --hidden nothing"), 2);
  EXPECT_EQ(run_after(full, "nothing"), 2);
}

TEST_F(SystemTest, NamesThatAreNotUtf8AreReplacedInJson) {
  ASSERT_EQ(train("--out run --quiet").status, 0);
  write_digit("a\xff.png");
  write_digit("b.png");
  const Json rows = run_json({"predict", "--model", "run", "a\xff.png", "b.png"});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["image"], "a\xef\xbf\xbd.png");
  EXPECT_EQ(rows[1]["image"], "b.png");
}

TEST_F(SystemTest, PredictReadsOnlyTheVisiblePngFilesOfADirectory) {
  ASSERT_EQ(train("--out run --quiet").status, 0);
  fs::create_directories(folder.path() / "images/within.png");
  write_digit("images/b.PNG");
  write("images/._b.PNG", "metadata of macOS");
  write("images/notes.txt", "");
  const Json rows = run_json("predict --model run images");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0]["image"], "images/b.PNG");

  fs::create_directories(folder.path() / "photos");
  expect_refused("predict --model run photos", "photos", "found none in it");
  for (const char* name :
       {"a.jpg", "b.jpg", "c.jpg", "d.txt", ".hidden.png", "._a.jpg", "._b.jpg", "._c.jpg", "._d.jpg"}) {
    write(std::string("photos/") + name, "");
  }
  expect_refused("predict --model run photos", "photos", "found 3 .jpg; convert them to PNG");
}

TEST_F(SystemTest, TooLittleAddressSpaceIsRefusedInOneLine) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer needs terabytes of address space";
#endif
  for (const rlim_t kilobytes : {450'000, 550'000, 600'000, 650'000, 700'000, 850'000}) {
    const auto limit = [&] {
      const rlimit address_space{kilobytes << 10, kilobytes << 10};
      setrlimit(RLIMIT_AS, &address_space);
      alarm(100);  // a hanging program ends with 128 + SIGALRM
    };
    const int status = run_after(limit, "compare --dataset synthetic --hidden 4");
    const std::string text = errors();
    if (status != 127) {  // which is the dynamic linker's: the libraries themselves do not fit
      EXPECT_EQ(status, 2) << kilobytes << text;
      EXPECT_THAT(text, StartsWith("twingrad: error: the system: expected ")) << kilobytes;
    }
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  }
}

TEST_F(SystemTest, TooFewThreadsAreRefusedInOneLine) {
  fs::permissions(folder.path(), fs::perms::all);  // for the unprivileged user
  // The first limit refuses OpenBLAS's threads, the second LibTorch's.
  for (const rlim_t processes : {1U, std::thread::hardware_concurrency()}) {
    const auto limit = [&] {
      const rlimit most{processes, processes};
      setrlimit(RLIMIT_NPROC, &most);
      if (getuid() == 0 && (setgroups(0, nullptr) != 0 || setuid(65534) != 0)) {  // root has no such limit
        _exit(126);
      }
      alarm(100);
    };
    const int status = run_after(limit, "compare --dataset synthetic --hidden 4");
    if (status == 126 || status == 127) {
      GTEST_SKIP() << "the program cannot be started as another user here";
    }
    EXPECT_EQ(status, 2) << processes;
    EXPECT_THAT(errors(), ::testing::MatchesRegex(
                              "twingrad: error: the system: expected [1-9].* more threads?[^\n]*\n"))
        << processes;
  }
}

/// The program as the first process of a namespace, as in a container.
struct Container {
  pid_t outside = -1;  ///< the parent of the program, which ends with its status
  pid_t init = -1;     ///< the program as seen from outside; −1 if new namespaces are not permitted
};

Container start_container(const Arguments& arguments) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  Container container;
  container.outside = fork();
  if (container.outside == 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
      _exit(126);
    }
    const pid_t init = fork();
    if (init == 0) {
      dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
      become_program(arguments);
    }
    _exit(write(ends[1], &init, sizeof init) == sizeof init ? status_of(init) : 126);
  }
  close(ends[1]);
  if (read(ends[0], &container.init, sizeof container.init) != sizeof container.init) {
    container.init = -1;
  }
  close(ends[0]);
  return container;
}

TEST_F(SystemTest, SignalsEndTheFirstProcessOfAContainer) {
  for (const auto& [command, signal] : std::vector<std::pair<std::string, int>>{
           {"bench --repeats 1000", SIGTERM}, {"check", SIGTERM}, {"bench --repeats 1000", SIGINT}}) {
    const Container container = start_container(command);
    if (container.init < 0) {
      status_of(container.outside);
      GTEST_SKIP() << "new namespaces are not permitted here";
    }
    siginfo_t ended{};
    wait_until([&] {  // the first signals may come before the program handles them
      kill(container.init, signal);
      waitid(P_PID, static_cast<id_t>(container.outside), &ended, WEXITED | WNOHANG | WNOWAIT);
      return ended.si_pid != 0;
    });
    kill(container.init, SIGKILL);
    EXPECT_EQ(status_of(container.outside), 128 + signal) << command;
  }
}

}  // namespace
}  // namespace twingrad

"""A recipe for Conan 2: conan create packaging/conan. LibTorch, not in Conan Center, must be installed."""

import os

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class TwingradConan(ConanFile):
    name = "twingrad"
    version = "0.1.0"
    description = "One multilayer perceptron twice on LibTorch, by autograd and by hand; a gradient checker"
    license = "MIT"
    topics = ("pytorch", "libtorch", "gradient-checking", "backpropagation")
    package_type = "static-library"
    settings = "os", "compiler", "build_type", "arch"
    options = {"with_app": [True, False], "libtorch": ["ANY"]}
    default_options = {"with_app": False, "libtorch": ""}
    requires = ("fmt/[>=9 <13]", "cli11/[>=2.1 <3]", "nlohmann_json/[>=3.11 <4]", "libpng/[>=1.6 <2]",
                "zlib/[>=1.2.13 <2]", "openssl/[>=3 <4]")

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..", "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "cpp/*", "recipes/*", "third_party/*"):
            copy(self, pattern, root, self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.variables["TWINGRAD_BUILD_APP"] = bool(self.options.with_app)
        toolchain.variables["TWINGRAD_BUILD_TESTS"] = False
        toolchain.variables["TWINGRAD_INSTALL"] = True
        if self.options.libtorch:  # the directory of an unpacked LibTorch, or of a wheel's torch package
            toolchain.variables["Torch_DIR"] = os.path.join(str(self.options.libtorch), "share/cmake/Torch")
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        # The package's own configuration file knows about LibTorch.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs.append(os.path.join("lib", "cmake", "twingrad"))

# `cpack --config build/release/CPackConfig.cmake`: two Debian packages, the program and the library.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The Twingrad authors")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME twingrad)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "train one MLP twice on LibTorch, by autograd and by hand
 Trains both networks in lockstep and compares every gradient. Checks all hand-written
 gradients against LibTorch and finite differences.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
# LibTorch accepts any BLAS, and apt would choose the slow reference BLAS.
set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS "libopenblas0-pthread | libopenblas0")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS dataset-fashion-mnist)

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libtwingrad-dev)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "gradient checker and hand-written layers for LibTorch
 Static libraries, headers and the CMake package for find_package(twingrad).")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libtorch-dev, libfmt-dev, nlohmann-json3-dev, libssl-dev, libpng-dev, zlib1g-dev, libdnnl-dev")
include(CPack)

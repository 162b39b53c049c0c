// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>A GPU for libtorch's own work: HIMO_TEST_GPU=1, and a libtorch for CUDA (HIMO_LIBTORCH).</summary>
internal static class TorchGpu
{
    /// <summary>Skips the running test, or its fixture, where there is none, and loads libtorch where there is one.</summary>
    public static void Needed()
    {
        TestGpu.NeedsDevice();
        if (TorchLoader.Find(TorchCuda.Library) is null)
        {
            Assert.Ignore($"Needs a libtorch for CUDA: set {TorchLoader.FolderVariable} to its folder.");
        }

        TorchLoader.EnsureLoaded();
        Assert.That(cuda.is_available(), Is.True, $"{TorchCuda.Library} is there, and libtorch finds no device");
    }
}

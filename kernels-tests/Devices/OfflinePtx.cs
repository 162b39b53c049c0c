// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using System.Text.RegularExpressions;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>Compiles a kernel to PTX of some target on a machine without a GPU.</summary>
internal static partial class OfflinePtx
{
    /// <summary>PTX of an explicitly grouped kernel.</summary>
    /// <param name="kernel">A static method; generic ones closed.</param>
    /// <param name="threads">Threads of a group; becomes .maxntid.</param>
    /// <param name="target">sm_80 or later.</param>
    public static string Compile(MethodInfo kernel, int threads, string target) => Retarget(PtxArchive.Compile(kernel, threads), target);

    /// <summary>The same text for another target: ILGPU writes the same instructions for each of them.</summary>
    public static string Retarget(string ptx, string target) => CudaKernels.Retarget(TargetLine().Replace(ptx, $".target {target}"));

    [GeneratedRegex(@"^\.target \w+", RegexOptions.Multiline)]
    private static partial Regex TargetLine();
}

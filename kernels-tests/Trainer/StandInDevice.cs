// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>
/// A second device of libtorch's without a GPU: its lazy backend for TorchScript, which every libtorch for the CPU has. Its tensors hold values, cannot be
/// read in place, and refuse operands that lie on the CPU, as a GPU's do. It lacks fused attention, hence serves models of one block, whose only
/// block is the pooled one.
/// </summary>
internal static class StandInDevice
{
    private const DeviceType Lazy = (DeviceType)17; // c10::DeviceType::Lazy, which TorchSharp does not name
    private const string Namespace = "_ZN5torch4lazy";

    private static readonly Lazy<nint> s_library = new(Start);

    /// <summary>The device; skips the running test where libtorch does not have it.</summary>
    public static Device Device => s_library.Value != 0 ? new Device(Lazy, 0) : throw new InvalidOperationException();

    /// <summary>Computes all tensors that wait, together: one by one each is a program of its own, which takes long to compile.</summary>
    public static unsafe void Finish()
    {
        nint executor = ((delegate* unmanaged[Cdecl]<nint>)Function("17LazyGraphExecutor3GetEv"))();
        const string Name = "17LazyGraphExecutor20SyncLiveTensorsGraphEPKNS0_13BackendDeviceEN3c108ArrayRefINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEEb";
        ((delegate* unmanaged[Cdecl]<nint, nint, nint, nint, byte, void>)Function(Name))(executor, 0, 0, 0, 1); // every device's, no further ones, and wait
    }

    private static nint Function(string name) => NativeLibrary.GetExport(s_library.Value, Namespace + name);

    private static unsafe nint Start()
    {
        TorchLoader.EnsureLoaded();
        if (TorchLoader.Find("libtorch_cpu.so") is not { } file || !NativeLibrary.TryLoad(file, out nint library)
            || !NativeLibrary.TryGetExport(library, Namespace + "22InitTorchScriptBackendEv", out nint initialize))
        {
            Assert.Ignore("this libtorch has no lazy backend");
            return 0;
        }

        ((delegate* unmanaged[Cdecl]<void>)initialize)();
        return library;
    }
}

// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Time between two points of a step, and device memory. On a GPU a call only enqueues, so its clock is the device's: two events on libtorch's
/// stream, which nobody waits for before the time is read.
/// </summary>
internal sealed class DeviceMeter : IDisposable
{
    private readonly int _device;
    private readonly Gpu? _gpu;
    private readonly CudaEvent? _started;
    private readonly CudaEvent? _stopped;
    private long _start;
    private double _milliseconds;

    /// <summary>Opens the device.</summary>
    /// <param name="device">Of the model.</param>
    /// <exception cref="GpuException">The kernels cannot run there.</exception>
    public DeviceMeter(Device device)
    {
        if (device.type == DeviceType.CUDA)
        {
            _device = device.index;
            _gpu = Gpu.OpenCuda(_device);
            using PrimaryContext.Scope scope = PrimaryContext.Enter(_gpu.Accelerator);
            (_started, _stopped) = (new CudaEvent(), new CudaEvent());
        }
    }

    /// <summary>Memory that is in use on a GPU, by whomever; null on the CPU.</summary>
    public long? BytesInUse
    {
        get
        {
            if (_gpu is null)
            {
                return null;
            }

            using PrimaryContext.Scope scope = PrimaryContext.Enter(_gpu.Accelerator);
            CudaDriver.MemoryInfo(out nint free, out nint total).ThrowIfFailed();
            return total - free;
        }
    }

    /// <summary>The first point.</summary>
    public void Start()
    {
        _start = Stopwatch.GetTimestamp();
        Record(_started);
    }

    /// <summary>The second point.</summary>
    public void Stop()
    {
        _milliseconds = Stopwatch.GetElapsedTime(_start).TotalMilliseconds;
        Record(_stopped);
    }

    /// <summary>Milliseconds from the first point to the second; waits until a GPU has passed both.</summary>
    public double Read()
    {
        if (_gpu is null)
        {
            return _milliseconds;
        }

        using PrimaryContext.Scope scope = PrimaryContext.Enter(_gpu.Accelerator);
        _stopped!.Synchronize();
        return _stopped.MillisecondsSince(_started!);
    }

    public void Dispose()
    {
        if (_gpu is not null)
        {
            using PrimaryContext.Scope scope = PrimaryContext.Enter(_gpu.Accelerator);
            _started!.Dispose();
            _stopped!.Dispose();
        }
    }

    private void Record(CudaEvent? point)
    {
        if (_gpu is not null)
        {
            using PrimaryContext.Scope scope = PrimaryContext.Enter(_gpu.Accelerator);
            point!.Record(_gpu.WrapStream(TorchCuda.CurrentStream(_device)));
        }
    }
}

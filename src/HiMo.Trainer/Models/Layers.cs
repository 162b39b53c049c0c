// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace HiMo.Trainer;

/// <summary>Base of the layers below: parameters are created without values, because a file or an initialiser fills them.</summary>
/// <remarks>Fields of parameters carry their name as an attribute, since to(dtype) and to(device) replace them by reflection.</remarks>
internal abstract class Layer(string name) : Module(name)
{
    /// <summary>The type of this layer's products where it is not that of its parameters: operands are converted, as torch's autocast does.</summary>
    public ScalarType? ProductType { get; set; }

    /// <summary>An operand of a product, in the type of the products.</summary>
    protected Tensor Operand(Tensor value) => ProductType is { } type && value.dtype != type ? value.to(type) : value;

    protected Parameter Register(string name, params long[] shape)
    {
        Parameter parameter = new(empty(shape, float32));
        register_parameter(name, parameter);
        return parameter;
    }

    protected T Add<T>(string name, T layer)
        where T : Module
    {
        register_module(name, layer);
        return layer;
    }
}

/// <summary>y = x W' + b, with W of shape out x in.</summary>
internal sealed class LinearLayer : Layer
{
    [ComponentName(Name = "weight")]
    private readonly Parameter _weight;

    [ComponentName(Name = "bias")]
    private readonly Parameter _bias;

    public LinearLayer(int inputs, int outputs)
        : base(nameof(LinearLayer))
    {
        _weight = Register("weight", outputs, inputs);
        _bias = Register("bias", outputs);
    }

    public Tensor Forward(Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        return functional.linear(Operand(x), Operand(_weight), Operand(_bias)).MoveToOuterDisposeScope();
    }
}

/// <summary>Layer normalisation over the last dimension with epsilon 1e-5; computed in float32 whatever the type of x.</summary>
internal sealed class NormLayer : Layer
{
    private readonly long[] _shape;
    [ComponentName(Name = "weight")]
    private readonly Parameter _weight;

    [ComponentName(Name = "bias")]
    private readonly Parameter _bias;

    public NormLayer(int width)
        : base(nameof(NormLayer))
    {
        _shape = [width];
        _weight = Register("weight", width);
        _bias = Register("bias", width);
    }

    public Tensor Forward(Tensor x)
    {
        if (x.dtype is ScalarType.Float32 or ScalarType.Float64)
        {
            return functional.layer_norm(x, _shape, _weight, _bias);
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor normalized = functional.layer_norm(x.to(float32), _shape, _weight.to(float32), _bias.to(float32));
        return normalized.to(x.dtype).MoveToOuterDisposeScope();
    }
}

/// <summary>c_proj(activation(c_fc(x))).</summary>
internal sealed class MlpLayer : Layer
{
    private readonly ClipActivation _activation;
    private readonly LinearLayer _in;
    private readonly LinearLayer _out;

    public MlpLayer(int width, int hidden, ClipActivation activation)
        : base(nameof(MlpLayer))
    {
        _activation = activation;
        _in = Add("c_fc", new LinearLayer(width, hidden));
        _out = Add("c_proj", new LinearLayer(hidden, width));
    }

    public Tensor Forward(Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = _in.Forward(x);
        Tensor active = _activation == ClipActivation.QuickGelu ? hidden.QuickGelu() : functional.gelu(hidden);
        return _out.Forward(active).MoveToOuterDisposeScope();
    }
}

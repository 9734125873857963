"""The only modules that use Faust, and private names of aiokafka's consumer."""

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import dev.candela.user.v1.CreateSessionRequest;
import dev.candela.user.v1.GetUserRequest;
import dev.candela.user.v1.RegisterUserRequest;
import dev.candela.user.v1.SessionServiceGrpc;
import dev.candela.user.v1.User;
import dev.candela.user.v1.UserServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;

/** Registers somebody, logs in and asks who that is: java Example localhost 8080 ada@example.com */
public final class Example {
  private static final String PASSWORD = "correct horse battery";

  public static void main(String[] arguments) throws InvalidProtocolBufferException {
    // Plaintext: only for a mesh on this machine.
    ManagedChannel channel =
        ManagedChannelBuilder.forAddress(arguments[0], Integer.parseInt(arguments[1])).usePlaintext().build();
    try {
      run(channel, arguments[2]);
    } finally {
      channel.shutdownNow();
    }
  }

  private static void run(ManagedChannel channel, String email) throws InvalidProtocolBufferException {
    UserServiceGrpc.UserServiceBlockingStub users = UserServiceGrpc.newBlockingStub(channel);
    users.registerUser(RegisterUserRequest.newBuilder().setEmail(email).setPassword(PASSWORD).build());
    String token =
        SessionServiceGrpc.newBlockingStub(channel)
            .createSession(CreateSessionRequest.newBuilder().setIdentifier(email).setPassword(PASSWORD).build())
            .getAccessToken();

    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    GetUserRequest me = GetUserRequest.newBuilder().setName("users/me").build();
    User user = MetadataUtils.attachHeaders(users, headers).getUser(me);
    System.out.println(user.getEmail() + " " + user.getPlan());

    // Errors carry a google.rpc.ErrorInfo, whose reason is a value of candela.error.v1.ErrorReason.
    try {
      users.getUser(me);
    } catch (StatusRuntimeException error) {
      ErrorInfo info = StatusProto.fromThrowable(error).getDetails(0).unpack(ErrorInfo.class);
      System.out.println(error.getStatus().getCode() + " " + info.getReason());
    }
  }
}

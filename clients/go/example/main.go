// Registers somebody, logs in and asks who that is: go run main.go localhost:8080 ada@example.com
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // so that the details of errors can be read
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	userv1 "candela.dev/client/gen/candela/user/v1"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: example HOST:PORT EMAIL")
	}
	// Plaintext: only for a mesh on this machine.
	connection, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	users, sessions := userv1.NewUserServiceClient(connection), userv1.NewSessionServiceClient(connection)
	email, password := os.Args[2], "correct horse battery"
	if _, err := users.RegisterUser(ctx, &userv1.RegisterUserRequest{Email: email, Password: password}); err != nil {
		log.Fatal(err)
	}
	grant, err := sessions.CreateSession(ctx, &userv1.CreateSessionRequest{Identifier: email, Password: password})
	if err != nil {
		log.Fatal(err)
	}
	signedIn := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+grant.AccessToken)
	me, err := users.GetUser(signedIn, &userv1.GetUserRequest{Name: "users/me"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(me.Email, me.Plan)

	// Errors carry a google.rpc.ErrorInfo, whose reason is a value of candela.error.v1.ErrorReason.
	_, err = users.GetUser(ctx, &userv1.GetUserRequest{Name: "users/me"})
	fmt.Println(status.Code(err), status.Convert(err).Details())
}
